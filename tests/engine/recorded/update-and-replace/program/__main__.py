"""One program in three versions (STEP): in-place update, replacement by an immutable field, removal, rename with an alias.

Changed data of a ConfigMap (and of a Secret) is a replacement, unless the provider is told `enable_config_map_mutable`.
"""

import os
import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

step = int(os.environ["STEP"])
namespace = k8s.core.v1.Namespace("ns", metadata={"name": "golden-update"})
meta = {"namespace": namespace.metadata.name}
k8s.core.v1.ConfigMap("edited", metadata=meta, data={"v": str(step)})  # auto-named: create first, then delete
k8s.core.v1.ConfigMap("named", metadata={**meta, "name": "named"}, data={"v": str(step)})  # fixed name: delete first
k8s.core.v1.Service("svc", metadata={**meta, "name": "svc"}, spec={"selector": {"a": f"b{step}"}, "ports": [{"port": 80}]})
k8s.apps.v1.Deployment(
    "dep",
    metadata={**meta, "annotations": {"pulumi.com/skipAwait": "true"}},
    spec={
        "selector": {"matchLabels": {"app": "a" if step < 2 else "b"}},  # immutable: replaced in step 2
        "replicas": step,
        "template": {
            "metadata": {"labels": {"app": "a" if step < 2 else "b"}},
            "spec": {"containers": [{"name": "c", "image": "localhost/none:1"}]},
        },
    },
)
if step < 3:
    k8s.core.v1.ConfigMap("removed-in-3", metadata=meta, data={"x": "y"})
name = "old-name" if step == 1 else "new-name"
random.RandomString(
    "renamed" if step == 1 else "renamed2",
    length=8 if step < 3 else 10,
    special=False,
    opts=pulumi.ResourceOptions(aliases=[pulumi.Alias(name="renamed")]),
)
pulumi.export("step", step)
