"""Waiting: a Job that completes, a Service without pods, a Deployment that never becomes ready (step 1) and does (step 2)."""

import os
import pulumi
import pulumi_kubernetes as k8s

step = int(os.environ["STEP"])
image = "localhost/python:3.11-bookworm"
namespace = k8s.core.v1.Namespace("ns", metadata={"name": "golden-rollout"})
meta = {"namespace": namespace.metadata.name}
k8s.batch.v1.Job(
    "job",
    metadata={**meta, "name": "job"},
    spec={"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image, "command": ["true"]}]}}},
)
probe = {"httpGet": {"path": "/", "port": 9000 if step > 1 else 9999}, "periodSeconds": 1}
web = k8s.apps.v1.Deployment(
    "web",
    metadata={**meta, "name": "web"},
    spec={
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {"name": "web", "image": image, "command": ["python3", "-m", "http.server", "9000"], "readinessProbe": probe}
                ],
            },
        },
    },
    opts=pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="15s", update="30s")),
)
k8s.core.v1.Service(
    "svc",
    metadata={**meta, "name": "svc"},
    spec={"selector": {"app": "web"}, "ports": [{"port": 9000}]},
    opts=pulumi.ResourceOptions(depends_on=[web]),
)
pulumi.export("ready", web.status.ready_replicas)
