"""The services a program talks to: Pulumi's ResourceMonitor and Engine over gRPC. Translation only; decisions are elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf import empty_pb2
from pulumi.runtime.proto import callback_pb2, engine_pb2, engine_pb2_grpc, provider_pb2, resource_pb2, resource_pb2_grpc

from engine.callbacks import GRPC_OPTIONS, Callbacks
from engine.context import RunContext
from engine.goal import Goal, decode_goal, unique
from engine.model import ResourceState
from engine.values import PropertyMap, Value
from engine.wire import from_struct, to_struct

_FEATURE = resource_pb2.ResourceMonitorFeature
FEATURES = [
    _FEATURE.Value(f"RESOURCE_MONITOR_FEATURE_{name}")
    for name in (
        "SECRETS",
        "RESOURCE_REFERENCES",
        "OUTPUT_VALUES",
        "ALIAS_SPECS",
        "REPLACEMENT_TRIGGER",
        "DELETED_WITH",
        "TRANSFORMS",
        "INVOKE_TRANSFORMS",
    )
]
"""What this engine really does. The SDK raises a clear error when a program uses a feature that is not listed."""
LEGACY_FEATURES = {"secrets", "resourceReferences", "outputValues", "aliasSpecs", "deletedWith", "transforms", "invokeTransforms"}
_SEVERITIES = {engine_pb2.DEBUG: "debug", engine_pb2.INFO: "info", engine_pb2.WARNING: "warning", engine_pb2.ERROR: "error"}


class Requests(Protocol):
    """Who serves the program's requests: the deployment."""

    async def register(self, goal: Goal, transforms: list[callback_pb2.Callback]) -> tuple[ResourceState, list[str]]: ...
    def register_outputs(self, urn: str, outputs: PropertyMap) -> None: ...
    async def read(self, goal: Goal, id_: str) -> ResourceState: ...
    async def invoke(self, token: str, args: PropertyMap, provider: str, version: str) -> Value: ...


class InvokeFailure(Exception):
    """A function refused its arguments; becomes the `failures` of the answer."""


class Monitor(resource_pb2_grpc.ResourceMonitorServicer, engine_pb2_grpc.EngineServicer):
    """Both services on one port."""

    def __init__(self, context: RunContext, requests: Requests, callbacks: Callbacks) -> None:
        self._context = context
        self._requests = requests
        self._callbacks = callbacks
        self._server = grpc.aio.server(options=GRPC_OPTIONS)
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server(self, self._server)
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)

    async def start(self) -> str:
        """Listens on a free loopback port; returns the address."""
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        await self._server.stop(grace=0)

    # -- ResourceMonitor -------------------------------------------------------------------------------------------

    async def GetDeploymentInfo(self, request: empty_pb2.Empty, context: Any) -> resource_pb2.DeploymentInfo:
        return resource_pb2.DeploymentInfo(supportedFeatures=FEATURES)

    async def SupportsFeature(self, request: resource_pb2.SupportsFeatureRequest, context: Any) -> resource_pb2.SupportsFeatureResponse:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in LEGACY_FEATURES)

    async def RegisterResource(self, request: resource_pb2.RegisterResourceRequest, context: Any) -> resource_pb2.RegisterResourceResponse:
        if request.remote:
            error = self._context.bail(
                f"{request.type} '{request.name}': the embedded engine cannot construct remote components; it needs the pulumi CLI."
            )
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
        try:
            goal = decode_goal(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        state, stables = await self._requests.register(goal, list(request.transforms))
        return resource_pb2.RegisterResourceResponse(
            urn=state.urn, id=state.id, object=to_struct(state.outputs if state.custom else {}), stables=stables
        )

    async def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest, context: Any) -> empty_pb2.Empty:
        self._requests.register_outputs(request.urn, from_struct(request.outputs, keep_none=False))
        return empty_pb2.Empty()

    async def ReadResource(self, request: resource_pb2.ReadResourceRequest, context: Any) -> resource_pb2.ReadResourceResponse:
        goal = Goal(
            type=request.type,
            name=request.name,
            custom=True,
            parent=request.parent,
            properties=from_struct(request.properties, keep_none=False),
            dependencies=unique(request.dependencies),
            provider=request.provider,
            version=request.version,
            plugin_download_url=request.pluginDownloadURL,
            additional_secret_outputs=list(request.additionalSecretOutputs),
        )
        state = await self._requests.read(goal, request.id)
        return resource_pb2.ReadResourceResponse(urn=state.urn, id=state.id, properties=to_struct(state.outputs))

    async def Invoke(self, request: resource_pb2.ResourceInvokeRequest, context: Any) -> provider_pb2.InvokeResponse:
        args = await self._callbacks.transform_invoke(request.tok, from_struct(request.args))
        try:
            result = await self._requests.invoke(request.tok, args, request.provider, request.version)
        except InvokeFailure as error:
            return resource_pb2.ResourceInvokeResponse(failures=[provider_pb2.CheckFailure(reason=str(error))])
        return resource_pb2.ResourceInvokeResponse(**{"return": to_struct(result)})

    async def Call(self, request: Any, context: Any) -> Any:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: the embedded engine cannot call methods of components; it needs the pulumi CLI."
        )

    async def RegisterStackTransform(self, request: callback_pb2.Callback, context: Any) -> empty_pb2.Empty:
        self._callbacks.add_stack_transform(request)
        return empty_pb2.Empty()

    async def RegisterStackInvokeTransform(self, request: callback_pb2.Callback, context: Any) -> empty_pb2.Empty:
        self._callbacks.add_invoke_transform(request)
        return empty_pb2.Empty()

    async def RegisterPackage(self, request: resource_pb2.RegisterPackageRequest, context: Any) -> Any:
        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"package {request.name}: the embedded engine has no parameterized packages; they need the pulumi CLI.",
        )

    async def SignalAndWaitForShutdown(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        # Pulumi holds the program here so that delete hooks can still be called; there are none, so it may go at once.
        return empty_pb2.Empty()

    # -- Engine ----------------------------------------------------------------------------------------------------

    async def Log(self, request: engine_pb2.LogRequest, context: Any) -> empty_pb2.Empty:
        severity = _SEVERITIES[request.severity]
        if severity == "error":
            self._context.errored = True
        if severity != "debug":
            self._context.events.diagnostic(severity, request.message, request.urn, ephemeral=request.ephemeral, stream_id=request.streamId)
        return empty_pb2.Empty()

    async def GetRootResource(self, request: Any, context: Any) -> engine_pb2.GetRootResourceResponse:
        return engine_pb2.GetRootResourceResponse(urn=self._context.stack_urn)

    async def SetRootResource(self, request: Any, context: Any) -> engine_pb2.SetRootResourceResponse:
        return engine_pb2.SetRootResourceResponse()

    async def RequirePulumiVersion(self, request: engine_pb2.RequirePulumiVersionRequest, context: Any) -> Any:
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the program requires a Pulumi CLI of version {request.pulumi_version_range}; this is the embedded engine. "
            "Run it with `--engine pulumi`.",
        )
