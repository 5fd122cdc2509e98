"""Calls back into the program: transforms that it registered are run by its own callback server."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

from engine.goal import Goal, apply_transform, transform_request
from engine.values import PropertyMap
from engine.wire import from_struct, to_struct

GRPC_OPTIONS = [("grpc.max_receive_message_length", 400 * 1024 * 1024), ("grpc.max_send_message_length", 400 * 1024 * 1024)]
"""400 MiB both ways, Pulumi's own limit: whole Kubernetes manifests travel in one message."""


class CallbackError(Exception):
    """A callback of the program raised; the message is the program's own."""


class Callbacks:
    """The transforms of one run, and a connection to each callback server that the program started."""

    def __init__(self) -> None:
        self._stubs: dict[str, callback_pb2_grpc.CallbacksStub] = {}
        self._channels: list[grpc.aio.Channel] = []
        self._stack: list[callback_pb2.Callback] = []
        self._invoke: list[callback_pb2.Callback] = []
        self._of_resource: dict[str, tuple[str, list[callback_pb2.Callback]]] = {}
        self._lock = asyncio.Lock()

    def add_stack_transform(self, callback: callback_pb2.Callback) -> None:
        self._stack.append(callback)

    def add_invoke_transform(self, callback: callback_pb2.Callback) -> None:
        self._invoke.append(callback)

    def remember(self, urn: str, parent: str, transforms: list[callback_pb2.Callback]) -> None:
        """Keeps a component's transforms: they apply to everything below it."""
        self._of_resource[urn] = (parent, transforms)

    async def transform(self, goal: Goal, own: list[callback_pb2.Callback]) -> None:
        """Runs the resource's own transforms, then its ancestors', then the stack's."""
        chain = list(own)
        urn = goal.parent
        while urn in self._of_resource:
            urn, inherited = self._of_resource[urn]
            chain += inherited
        for callback in [*chain, *self._stack]:
            response = resource_pb2.TransformResponse()
            response.ParseFromString(await self._call(callback, transform_request(goal).SerializeToString()))
            apply_transform(goal, response)

    async def transform_invoke(self, token: str, args: PropertyMap) -> PropertyMap:
        for callback in self._invoke:
            request = resource_pb2.TransformInvokeRequest(token=token, args=to_struct(args))
            response = resource_pb2.TransformInvokeResponse()
            response.ParseFromString(await self._call(callback, request.SerializeToString()))
            if response.HasField("args"):
                args = from_struct(response.args)
        return args

    async def _call(self, callback: callback_pb2.Callback, request: bytes) -> bytes:
        stub = await self._stub(callback.target)
        try:
            answer = await stub.Invoke(callback_pb2.CallbackInvokeRequest(token=callback.token, request=request))
        except grpc.aio.AioRpcError as error:
            raise CallbackError(error.details()) from None
        return bytes(answer.response)

    async def _stub(self, target: str) -> callback_pb2_grpc.CallbacksStub:
        async with self._lock:
            if target not in self._stubs:
                channel = grpc.aio.insecure_channel(target, options=GRPC_OPTIONS)
                self._channels.append(channel)
                self._stubs[target] = callback_pb2_grpc.CallbacksStub(channel)
            return self._stubs[target]

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
