"""An image built from a context and pushed to a local registry; the tag is known at preview."""

import os
import pulumi
import pulumi_docker as docker

image = docker.Image(
    "app",
    image_name=f"localhost:5000/golden/app:v{os.environ['STEP']}",
    build=docker.DockerBuildArgs(
        context="ctx", dockerfile="ctx/Dockerfile", platform="linux/amd64", args={"BASE": "localhost/python:3.11-bookworm"}
    ),
    skip_push=False,
)
pulumi.export("name", image.image_name)
pulumi.export("digest", image.repo_digest)
