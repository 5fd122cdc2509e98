from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy, StackValidationPolicy


def port(args, report):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and args.props.get("data", {}).get("port") == "8500":
        report("port 8500 is outside 9000-9100")


def label(args):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and "team" not in (args.props["metadata"].get("labels") or {}):
        metadata = dict(args.props["metadata"])
        metadata["labels"] = {**(metadata.get("labels") or {}), "team": "platform"}
        return {**args.props, "metadata": metadata}


def advise(args, report):
    if args.resource_type == "kubernetes:core/v1:ConfigMap" and len(args.props.get("data", {})) < 2:
        report("a ConfigMap with one key")


def count(args, report):
    if len([r for r in args.resources if r.resource_type == "kubernetes:core/v1:ConfigMap"]) > 1:
        report("more than one ConfigMap in the stack")


PolicyPack(
    "golden",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        ResourceValidationPolicy("port-range", "MCP ports are 9000-9100.", port),
        ResourceValidationPolicy(
            name="team-label", description="Every object has a team.", remediate=label, enforcement_level=EnforcementLevel.REMEDIATE
        ),
        ResourceValidationPolicy("few-keys", "Small ConfigMaps are odd.", advise, enforcement_level=EnforcementLevel.ADVISORY),
        StackValidationPolicy("one-configmap", "At most one.", count, enforcement_level=EnforcementLevel.ADVISORY),
    ],
)
