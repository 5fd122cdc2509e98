"""Typed objects, auto-naming, a secret that flows from random into a Kubernetes Secret, a rollout that is awaited."""

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

namespace = k8s.core.v1.Namespace("demo", metadata={"name": "golden-basics"})
password = random.RandomPassword("password", length=20, special=False)
token = random.RandomId("token", byte_length=8)
pet = random.RandomPet("pet", length=2)
settings = k8s.core.v1.ConfigMap("settings", metadata={"namespace": namespace.metadata.name}, data={"MODE": "demo", "TOKEN": token.hex})
secret = k8s.core.v1.Secret("credentials", metadata={"namespace": namespace.metadata.name}, string_data={"password": password.result})
labels = {"app": "web"}
web = k8s.apps.v1.Deployment(
    "web",
    metadata={"namespace": namespace.metadata.name},
    spec={
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "localhost/python:3.11-bookworm",
                        "command": ["python3", "-m", "http.server", "9000"],
                        "envFrom": [{"secretRef": {"name": secret.metadata.name}}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 1},
                    }
                ]
            },
        },
    },
)
service = k8s.core.v1.Service("web", metadata={"namespace": namespace.metadata.name}, spec={"selector": labels, "ports": [{"port": 9000}]})
pulumi.export("url", pulumi.Output.concat("http://", service.metadata.name, ":9000"))
pulumi.export("password", password.result)
pulumi.export("pet", pet.id)
