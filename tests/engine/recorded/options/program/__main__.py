"""Resource options: protect, ignore_changes, retain_on_delete, delete_before_replace, replace_on_changes, depends_on, transforms, providers."""

import os
import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

step = int(os.environ["STEP"])


def add_team(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    if args.type_ != "kubernetes:core/v1:ConfigMap":
        return None
    metadata = dict(args.props.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), "team": "platform"}
    return pulumi.ResourceTransformResult(props={**args.props, "metadata": metadata}, opts=args.opts)


pulumi.runtime.register_resource_transform(add_team)
provider = k8s.Provider("other", namespace="default", kubeconfig=os.environ["KUBECONFIG"])
a = k8s.core.v1.ConfigMap("ignored", data={"v": str(step)}, opts=pulumi.ResourceOptions(ignore_changes=["data"]))
b = k8s.core.v1.ConfigMap("explicit-provider", data={"v": "1"}, opts=pulumi.ResourceOptions(provider=provider, depends_on=[a]))
c = random.RandomString("dbr", length=8 + step, opts=pulumi.ResourceOptions(delete_before_replace=True))
d = k8s.core.v1.ConfigMap("uses-dbr", metadata={"name": "uses-dbr"}, data={"s": c.result})
e = k8s.core.v1.ConfigMap(
    "replace-on",
    metadata={"name": "replace-on"},
    data={"s": str(step)},
    opts=pulumi.ResourceOptions(replace_on_changes=["data.s"], delete_before_replace=True),
)
if step == 1:
    k8s.core.v1.ConfigMap(
        "retained", metadata={"name": "golden-retained"}, data={"k": "v"}, opts=pulumi.ResourceOptions(retain_on_delete=True)
    )
k8s.core.v1.ConfigMap("protected", metadata={"name": "golden-protected"}, data={"k": "v"}, opts=pulumi.ResourceOptions(protect=step == 1))
root = k8s.core.v1.ConfigMap.get("read", "default/kube-root-ca.crt")
pulumi.export("read_name", root.metadata.name)
