"""Dynamic provider: create, in-place update (step 2), replacement (step 3), secret output."""

import os
import pulumi
from pulumi.dynamic import Resource
from store import FileProvider

step = int(os.environ["STEP"])


class Note(Resource):
    size: pulumi.Output[int]
    token: pulumi.Output[str]

    def __init__(self, name: str, text: str, kind: str):
        super().__init__(
            FileProvider(),
            name,
            {"text": text, "kind": kind, "size": None, "token": None},
            pulumi.ResourceOptions(additional_secret_outputs=["token"]),
        )


note = Note("note", f"  hello {min(step, 2)} ", "a" if step < 3 else "b")
pulumi.export("size", note.size)
pulumi.export("token", note.token)
