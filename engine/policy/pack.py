"""One policy pack: its process, its configuration, and the questions it is asked."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import yaml
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from engine.plugin_process import PLUGIN_MAIN, LineListener, PluginError, PluginProcess
from engine.policy import config as policy_config
from engine.policy.model import (
    LEVELS,
    SEVERITIES,
    Analysis,
    PolicyDiagnostic,
    PolicyError,
    PolicyInfo,
    PolicyResource,
    Remediated,
    Remediation,
)
from engine.values import Archive, Asset, PropertyMap, ResourceRef, Secret, Value, map_leaves
from engine.wire import from_struct, to_struct

MANIFEST = "PulumiPolicy.yaml"
_KINDS = ("", "resource", "stack")
_HINT = "A policy pack must print nothing before it constructs PolicyPack(...): the first line of its output is its port."


class PolicyPack:
    """A running pack. Safe to ask from several threads."""

    def __init__(self, path: Path, label: str, process: PluginProcess, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self._label = label
        self._process = process
        self._stub: Any = analyzer_pb2_grpc.AnalyzerStub(process.channel)
        self._manifest = manifest
        self.name = ""
        self.version = str(manifest.get("version") or "")
        self.policies: Sequence[PolicyInfo] = ()
        self.warnings: Sequence[str] = ()
        """What the user should know of the configuration, although the run goes on."""

    @classmethod
    def start(
        cls,
        path: str | Path,
        config_file: str | Path | None = None,
        *,
        engine_address: str,
        project: str,
        stack: str,
        organization: str = "organization",
        dry_run: bool,
        config: Mapping[str, str] | None = None,
        secret_keys: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        on_line: LineListener | None = None,
        interpreters: Sequence[str] = (),
    ) -> PolicyPack:
        """Starts and configures the pack in a folder. Raises PolicyError.

        `config` is the stack's (`namespace:key` -> text, secrets in plain, as packs may read them). `interpreters` are
        tried for pulumi_policy if the pack has no environment of its own; the engine's own is the last resort.
        """
        folder = Path(path).resolve()
        given = policy_config.load(Path(config_file)) if config_file else {}
        manifest = read_manifest(folder)
        python = _interpreter(folder, manifest, [*interpreters, sys.executable])
        entry = (folder / str(manifest.get("main") or ".")).resolve()
        environment = {
            "PULUMI_ORGANIZATION": organization,
            "PULUMI_PROJECT": project,
            "PULUMI_STACK": stack,
            "PULUMI_DRY_RUN": "true" if dry_run else "false",
            "PULUMI_CONFIG": json.dumps({k: v for k, v in (config or {}).items() if k not in set(secret_keys)}),
        }
        command = [python, "-u", str(PLUGIN_MAIN), "pulumi.policy", engine_address, str(entry)]
        name = f"policy pack {path}"
        try:
            process = PluginProcess(command, cwd=folder, env=environment, name=name, on_line=on_line, hint=_HINT)
        except PluginError as error:
            raise PolicyError(str(error)) from None
        pack = cls(folder, str(path), process, manifest)
        try:
            pack._handshake(engine_address, folder)
            request = analyzer_pb2.AnalyzerStackConfigureRequest(
                stack=stack,
                project=project,
                organization=organization,
                dry_run=dry_run,
                config=dict(config or {}),
                config_secret_keys=list(secret_keys),
                tags=dict(tags or {}),
            )
            pack._optional(pack._stub.ConfigureStack, request)
            pack._configure(given, str(config_file) if config_file else f"{path}: configuration")
        except BaseException:
            pack.close()
            raise
        return pack

    @property
    def key(self) -> str:
        """How the summary event names the pack: `name|local|path`."""
        return f"{self.name}|local|{self._label}"

    def remediate(self, resource: PolicyResource) -> Remediated:
        """Lets the pack change a resource's inputs."""
        response = self._ask(f"remediating {resource.urn}", self._stub.Remediate, _request(resource))
        remediations: list[Remediation] = []
        before = resource.properties
        for r in response.remediations:
            properties = _still_secret(before, from_struct(r.properties)) if r.HasField("properties") else None
            remediations.append(Remediation(r.policyName, r.description, properties, self._own_version(r.diagnostic)))
            before = before if properties is None else properties
        return Remediated(remediations, _not_applicable(response))

    def analyze(self, resource: PolicyResource) -> Analysis:
        """Judges one resource's inputs."""
        return self._analysis(self._ask(f"analyzing {resource.urn}", self._stub.Analyze, _request(resource)))

    def analyze_stack(self, resources: Iterable[PolicyResource]) -> Analysis:
        """Judges all resources of a stack, by their outputs."""
        request = analyzer_pb2.AnalyzeStackRequest(resources=[_stack_resource(r) for r in resources])
        return self._analysis(self._ask("analyzing the stack", self._stub.AnalyzeStack, request))

    def close(self) -> None:
        try:
            if self._process.alive:
                self._stub.Cancel(empty_pb2.Empty(), timeout=1)
        except grpc.RpcError:
            pass  # Cancel is optional; what follows ends the process in any case.
        self._process.close()

    def _handshake(self, engine_address: str, folder: Path) -> None:
        request = analyzer_pb2.AnalyzerHandshakeRequest(
            engine_address=engine_address, root_directory=str(folder), program_directory=str(folder)
        )
        self._optional(self._stub.Handshake, request)

    def _configure(self, given: policy_config.Config, source: str) -> None:
        info = self._ask("describing itself", self._stub.GetAnalyzerInfo, empty_pb2.Empty())
        self.name = info.name
        self.version = self.version or info.version
        schemas = [_schema(policy) for policy in info.policies]
        # A pack that gives a policy properties without a level says "advisory" here: level 0 is all the protocol has
        # for "none". The CLI takes it at its word, and so do we, or a pack would be stricter here than there.
        initial = {
            name: policy_config.Setting(LEVELS[setting.enforcementLevel], json_format.MessageToDict(setting.properties))
            for name, setting in info.initialConfig.items()
        }
        settings = policy_config.reconcile(schemas, initial, given, source)
        request = analyzer_pb2.ConfigureAnalyzerRequest(
            policyConfig={
                name: analyzer_pb2.PolicyConfig(
                    enforcementLevel=LEVELS.index(setting.level),  # type: ignore[arg-type]  # an enum's number
                    properties=_struct(setting.properties),
                )
                for name, setting in settings.items()
            }
        )
        self._ask("configuring it", self._stub.Configure, request)
        self.policies = sorted(
            (PolicyInfo(p.name, p.description, _KINDS[p.policy_type], settings[p.name].level) for p in info.policies),
            key=lambda policy: policy.name,
        )
        self.warnings = [
            f"{source}: {name}: policy pack {self.name} has no policy of this name; the setting has no effect."
            for name in policy_config.unknown_policies(schemas, given)
        ]

    def _analysis(self, response: analyzer_pb2.AnalyzeResponse) -> Analysis:
        diagnostics = [
            PolicyDiagnostic(
                policy_name=d.policyName,
                pack=d.policyPackName,
                version=self.version,
                description=d.description,
                message=self._own_version(d.message),
                level=LEVELS[d.enforcementLevel],
                urn=d.urn,
                severity=SEVERITIES[d.severity],
            )
            for d in response.diagnostics
        ]
        return Analysis(diagnostics, _not_applicable(response))

    def _own_version(self, message: str) -> str:
        """Packs in Python name themselves 0.0.1 in their own texts, whatever their manifest says."""
        return message.replace(f"'{self.name}@v0.0.1'", f"'{self.name}@v{self.version}'")

    def _optional(self, method: Callable[..., Any], request: Any) -> None:
        """An RPC that older packs do not have."""
        try:
            self._process.call(method, request)
        except PluginError as error:
            raise PolicyError(str(error)) from None
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._failure("starting", error) from None

    def _ask(self, doing: str, method: Callable[..., Any], request: Any) -> Any:
        try:
            return self._process.call(method, request)
        except PluginError as error:
            raise PolicyError(str(error)) from None
        except grpc.RpcError as error:
            raise self._failure(doing, error) from None

    def _failure(self, doing: str, error: grpc.RpcError) -> PolicyError:
        reason = (error.details() or error.code().name).removeprefix("Exception calling application: ")
        return PolicyError(f"policy pack {self.name or self._label} failed while {doing}: {reason}")


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """PulumiPolicy.yaml of a pack written in Python."""
    path = folder / MANIFEST
    try:
        manifest = yaml.safe_load(path.read_text())
    except OSError as error:
        raise PolicyError(f"{path}: cannot read it: {error.strerror}; a policy pack is a folder with this file.") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"{path}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(manifest, dict) or not manifest.get("runtime"):
        raise PolicyError(f"{path}: runtime: missing; set it to python.")
    runtime = manifest["runtime"]
    name = runtime.get("name") if isinstance(runtime, dict) else runtime
    if name != "python":
        raise PolicyError(f"{path}: runtime: {name!r} packs need the pulumi CLI; the embedded engine runs python packs.")
    return manifest


def _interpreter(folder: Path, manifest: Mapping[str, Any], fallbacks: Sequence[str]) -> str:
    runtime = manifest["runtime"]
    options = (runtime.get("options") if isinstance(runtime, dict) else None) or {}
    environment = options.get("virtualenv")
    if environment:
        own = folder / str(environment) / "bin" / "python"
        if own.exists():
            return str(own)
    for python in fallbacks:
        if Path(python).exists() and _has_policy_sdk(python):
            return python
    missing = f"its environment {environment!r} (runtime.options.virtualenv) does not exist" if environment else "it names no virtualenv"
    raise PolicyError(
        f"{folder / MANIFEST}: {missing}, and no other interpreter here has pulumi-policy. "
        f"Make it: python -m venv {environment or '.venv'} && {environment or '.venv'}/bin/pip install pulumi-policy"
    )


def _has_policy_sdk(python: str) -> bool:
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('pulumi_policy') is None)"
    return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0


def _schema(policy: analyzer_pb2.PolicyInfo) -> policy_config.Schema:
    properties = json_format.MessageToDict(policy.configSchema.properties)
    return policy_config.Schema(policy.name, LEVELS[policy.enforcementLevel], properties, list(policy.configSchema.required))


def _struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(properties)
    return struct


def _not_applicable(response: analyzer_pb2.AnalyzeResponse | analyzer_pb2.RemediateResponse) -> dict[str, str]:
    return {n.policy_name: n.reason for n in response.not_applicable}


def _properties(properties: PropertyMap) -> struct_pb2.Struct:
    # Packs do not know references to resources (they get the id, or the URN of what has none), and refuse assets of
    # which only the hash is known, as state has them.
    def plain(value: Value) -> Value:
        match value:
            case ResourceRef():
                return value.id or value.urn
            case Asset(text=None, path=None, uri=None):
                return Asset(value.hash, text="")
            case Archive(assets=None, path=None, uri=None):
                return Archive(value.hash, assets={})
            case _:
                return value

    return to_struct(map_leaves(properties, plain))


def _still_secret(before: Value, after: Value) -> Value:
    """`after` with the marks of `before`: a remediation that copies properties (`{**props}`) loses them on its way.

    Without this a harmless remediation would put a password in plain text into the state.
    """
    if isinstance(before, Secret):
        return after if isinstance(after, Secret) else Secret(after)
    if isinstance(before, dict) and isinstance(after, dict):
        return {name: _still_secret(before.get(name), value) for name, value in after.items()}
    if isinstance(before, list) and isinstance(after, list):
        return [_still_secret(old, new) for old, new in itertools.zip_longest(before, after)][: len(after)]
    return after


def _options(resource: PolicyResource) -> analyzer_pb2.AnalyzerResourceOptions:
    options = resource.options
    timeouts = options.custom_timeouts
    return analyzer_pb2.AnalyzerResourceOptions(
        protect=options.protect,
        ignoreChanges=options.ignore_changes,
        deleteBeforeReplace=bool(options.delete_before_replace),
        deleteBeforeReplaceDefined=options.delete_before_replace is not None,
        additionalSecretOutputs=options.additional_secret_outputs,
        aliases=options.aliases,
        customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(
            create=timeouts.create or 0, update=timeouts.update or 0, delete=timeouts.delete or 0
        ),
        parent=options.parent,
    )


def _provider(resource: PolicyResource) -> analyzer_pb2.AnalyzerProviderResource | None:
    provider = resource.provider
    if provider is None:
        return None
    shown = {name: value for name, value in provider.properties.items() if not name.startswith("__")}
    return analyzer_pb2.AnalyzerProviderResource(urn=provider.urn, type=provider.type, name=provider.name, properties=_properties(shown))


def _request(resource: PolicyResource) -> analyzer_pb2.AnalyzeRequest:
    return analyzer_pb2.AnalyzeRequest(
        urn=resource.urn,
        type=resource.type,
        name=resource.name,
        properties=_properties(resource.properties),
        options=_options(resource),
        provider=_provider(resource),
    )


def _stack_resource(resource: PolicyResource) -> analyzer_pb2.AnalyzerResource:
    return analyzer_pb2.AnalyzerResource(
        urn=resource.urn,
        type=resource.type,
        name=resource.name,
        properties=_properties(resource.properties),
        options=_options(resource),
        provider=_provider(resource),
        parent=resource.parent,
        dependencies=resource.dependencies,
        propertyDependencies={
            name: analyzer_pb2.AnalyzerPropertyDependencies(urns=urns) for name, urns in resource.property_dependencies.items()
        },
    )
