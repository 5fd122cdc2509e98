"""A dynamic provider in its own module, so that it is pickled by reference."""

import json, os, pathlib, uuid
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult


class FileProvider(ResourceProvider):
    def _path(self, id_: str) -> pathlib.Path:
        return pathlib.Path(os.environ["STORE"]) / id_

    def check(self, _olds, news):
        return CheckResult({**news, "text": news["text"].strip()}, [])

    def create(self, props):
        id_ = uuid.uuid4().hex[:8]
        self._path(id_).write_text(json.dumps(props["text"]))
        return CreateResult(id_, {**props, "size": len(props["text"]), "token": "s3cr3t"})

    def diff(self, _id, olds, news):
        return DiffResult(
            changes=olds["text"] != news["text"] or olds["kind"] != news["kind"], replaces=["kind"] if olds["kind"] != news["kind"] else []
        )

    def update(self, id_, _olds, news):
        self._path(id_).write_text(json.dumps(news["text"]))
        return UpdateResult({**news, "size": len(news["text"]), "token": "s3cr3t"})

    def delete(self, id_, _props):
        self._path(id_).unlink(missing_ok=True)

    def read(self, id_, props):
        return ReadResult(id_, props)
