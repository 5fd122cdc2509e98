"""`PostgresDatabase`: one Postgres server with its volume, its password and its network edges."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
import pulumi_random
from pulumi_kubernetes.apps.v1 import StatefulSet
from pulumi_kubernetes.core.v1 import Secret, Service, ServiceAccount
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget
from pydantic import Field

from components.connection_pool_config import secret
from components.network import PeerArgs, PeerSpec, ingress, network_policy
from components.objects import (
    APP_UID,
    NAME_PATTERN,
    Children,
    Manifest,
    container_security_context,
    image_version,
    labels,
    metadata,
    pod_security_context,
    scratch_volume,
    selector,
)
from components.spec import Spec
from components.workload import (
    QUANTITY_PATTERN,
    ResourcesArgs,
    ResourcesSpec,
    cluster_service,
    disruption_budget,
    service_account,
)

# A subfolder: a volume's root often holds lost+found, and initdb wants an empty directory of its own.
DATA_MOUNT = "/var/lib/postgresql/data"
PGDATA = f"{DATA_MOUNT}/pgdata"
PASSWORD_DIR = "/etc/sophia/secrets"  # noqa: S105 - a path
PASSWORD_KEY = "password"  # noqa: S105 - a file name


class PostgresDatabaseArgs(TypedDict):
    """One Postgres server."""

    namespace: str
    """Namespace of all objects."""
    image: str
    """Image with the contract of Docker's official postgres image (POSTGRES_USER, POSTGRES_DB,
    POSTGRES_PASSWORD_FILE, PGDATA; pg_isready and psql on the PATH). Known at preview."""
    database: NotRequired[str]
    """Database made at the first start. Default "sophia"."""
    user: NotRequired[str]
    """Role made at the first start, owner of the database. Default "sophia"."""
    port: NotRequired[int]
    """Port of the Service and the server. Default 5432."""
    storage: NotRequired[str]
    """Size of the volume. Default "10Gi". Kubernetes can grow some volumes, but shrink none."""
    storage_class: NotRequired[str]
    """StorageClass of the volume. Default: the cluster's default class."""
    max_connections: NotRequired[int]
    """Connections the server accepts. Default 100. Each costs about 10 MB of memory when busy."""
    resources: NotRequired[ResourcesArgs]
    """Requests and limits. Default 250m-1 CPU, 512Mi-1Gi."""
    run_as: NotRequired[int]
    """User and group id of the server. Default 10001; the upstream Debian images need 999."""
    clients: NotRequired[list[PeerArgs]]
    """Pods that may connect. Default: none."""


class PostgresDatabaseSpec(Spec):
    """Checked form of `PostgresDatabaseArgs`."""

    namespace: str
    """Name of a namespace."""
    image: str = Field(min_length=1)
    """An image reference with tag or digest."""
    database: str = Field(default="sophia", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """A Postgres name: a-z, 0-9 and _, 63 characters at most."""
    user: str = Field(default="sophia", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """A Postgres name: a-z, 0-9 and _, 63 characters at most."""
    port: int = Field(default=5432, ge=1024, le=65535)
    """A port from 1024 to 65535: the server does not run as root."""
    storage: str = Field(default="10Gi", pattern=QUANTITY_PATTERN)
    """A Kubernetes quantity of bytes: "10Gi"."""
    storage_class: str | None = Field(default=None, pattern=NAME_PATTERN)
    """Name of a StorageClass, or leave it out for the cluster's default."""
    max_connections: int = Field(default=100, ge=5, le=10_000)
    """5-10000 connections."""
    resources: ResourcesSpec = ResourcesSpec()
    """An object with cpu_request, memory_request, cpu_limit, memory_limit."""
    run_as: int = Field(default=APP_UID, ge=1, le=2**31 - 1)
    """A user id above 0."""
    clients: tuple[PeerSpec, ...] = ()
    """A list of objects with labels and, where it is another one, namespace."""


class PostgresDatabase(pulumi.ComponentResource):
    """Runs one Postgres server on a volume of its own, with a password that nobody has to know.

    One replica: a second one without replication would be a second, different database. So a drain or an update of
    the server means seconds without it, which the clients' pools and breakers bridge; the disruption budget does
    not forbid the drain, because a budget that does leaves an operator with a node that cannot be maintained.

    Readiness and startup ask the server over TCP (`pg_isready -h 127.0.0.1`): the temporary server that the image
    runs while it initialises listens on its socket only, so that nothing is sent to it too early. Liveness only
    opens the port: a server in recovery, or out of connections, must not be killed for it.

    The data survives `kubectl delete statefulset`; it goes with the namespace. SIGTERM would let Postgres wait for its
    clients for ever; both images declare SIGINT (fast shutdown) as their stop signal.
    """

    host: pulumi.Output[str]
    """Name of the Service, as clients in the same namespace use it."""
    password: pulumi.Output[str]
    """Generated password of the role; secret."""

    def __init__(self, name: str, args: PostgresDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        spec = PostgresDatabaseSpec.parse(args)
        super().__init__("sophia:platform:PostgresDatabase", name, None, opts)
        children, marks = Children(self, opts), labels(name, "database")
        password = pulumi_random.RandomPassword(name, length=32, special=False, opts=pulumi.ResourceOptions(parent=self))
        credentials = secret(credentials_name(name), spec.namespace, {PASSWORD_KEY: password.result})
        account = children.create(ServiceAccount, name, service_account(name, spec.namespace, marks))
        policy = children.create(NetworkPolicy, name, database_network_policy(name, spec))
        mounted = children.create(Secret, credentials_name(name), credentials)
        headless = children.create(Service, headless_name(name), service(name, spec, headless=True))
        children.create(StatefulSet, name, stateful_set(name, spec), after=[account, policy, mounted, headless])
        children.create(Service, name, service(name, spec))
        children.create(PodDisruptionBudget, name, disruption_budget(name, spec.namespace, marks))
        self.host = pulumi.Output.from_input(name)
        self.password = password.result
        self.register_outputs({"host": self.host, "password": self.password})


def credentials_name(name: str) -> str:
    """Name of the Secret with the server's own password."""
    return f"{name}-credentials"


def headless_name(name: str) -> str:
    """Name of the Service that gives each pod a DNS name of its own."""
    return f"{name}-headless"


def pod_labels(name: str) -> dict[str, str]:
    """The labels by which clients' NetworkPolicies find the server's pods."""
    return selector(name)


def database_network_policy(name: str, spec: PostgresDatabaseSpec) -> Manifest:
    """Declared clients may connect; the server itself connects to nobody, not even to DNS."""
    marks = labels(name, "database")
    return network_policy(name, spec.namespace, marks, ingress(spec.clients, spec.port), [])


def service(name: str, spec: PostgresDatabaseSpec, headless: bool = False) -> Manifest:
    """The Service of the server, or the headless one its StatefulSet needs."""
    own_name = headless_name(name) if headless else name
    port = {"name": "postgres", "port": spec.port, "targetPort": "postgres", "protocol": "TCP"}
    marks = labels(name, "database")
    result = cluster_service(own_name, spec.namespace, marks, selector(name), [port])
    if headless:
        result["spec"] |= {"clusterIP": "None", "publishNotReadyAddresses": True}
    return result


def stateful_set(name: str, spec: PostgresDatabaseSpec) -> Manifest:
    """The server's pod and the claim for its volume."""
    marks = labels(name, "database", image_version(spec.image))
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, spec.namespace, marks),
        "spec": {
            "serviceName": headless_name(name),
            "replicas": 1,
            "selector": {"matchLabels": selector(name)},
            "updateStrategy": {"type": "RollingUpdate"},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": {"metadata": {"labels": marks}, "spec": _pod(name, spec)},
            "volumeClaimTemplates": [_claim(name, spec)],
        },
    }


def _claim(name: str, spec: PostgresDatabaseSpec) -> Manifest:
    body: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": spec.storage}}}
    if spec.storage_class:
        body["storageClassName"] = spec.storage_class
    # No version label: claim templates cannot be changed, and an image update must not try to.
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": labels(name, "database")},
        "spec": body,
    }


def _pod(name: str, spec: PostgresDatabaseSpec) -> Manifest:
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(spec.run_as, spec.run_as),
        # A fast shutdown writes a checkpoint; on a slow disk that takes longer than the usual 30 s.
        "terminationGracePeriodSeconds": 60,
        "containers": [_container(spec)],
        "volumes": [
            scratch_volume("tmp", "64Mi"),
            scratch_volume("run", "16Mi"),
            {
                "name": "credentials",
                "secret": {
                    "secretName": credentials_name(name),
                    "defaultMode": 0o440,
                    "items": [{"key": PASSWORD_KEY, "path": PASSWORD_KEY}],
                },
            },
        ],
    }


def _container(spec: PostgresDatabaseSpec) -> Manifest:
    environment: Mapping[str, str] = {
        "POSTGRES_USER": spec.user,
        "POSTGRES_DB": spec.database,
        "POSTGRES_PASSWORD_FILE": f"{PASSWORD_DIR}/{PASSWORD_KEY}",
        "PGDATA": PGDATA,
    }
    return {
        "name": "postgres",
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["postgres", "-c", f"port={spec.port}", "-c", f"max_connections={spec.max_connections}"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"name": "postgres", "containerPort": spec.port, "protocol": "TCP"}],
        "resources": spec.resources.manifest(),
        "securityContext": container_security_context(),
        **_probes(spec),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA_MOUNT},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own, an emptyDir
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "credentials", "mountPath": PASSWORD_DIR, "readOnly": True},
        ],
    }


def _probes(spec: PostgresDatabaseSpec) -> Manifest:
    """Startup has five minutes: crash recovery after a lost node replays up to a checkpoint interval of log."""
    ask = ["pg_isready", "-h", "127.0.0.1", "-p", str(spec.port), "-U", spec.user, "-d", spec.database, "-t", "3"]
    return {
        "startupProbe": {"exec": {"command": ask}, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {"exec": {"command": ask}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "tcpSocket": {"port": "postgres"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }
