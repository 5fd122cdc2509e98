"""The five calls of the container runtime's interface that a clean stop needs.

The kubelet is stopped first and the pods' objects stay: the next `up` starts the same pods again, on the same volumes,
without a scheduler or a healthy API server having to take part in a stop. Messages of these calls are a few numbered
strings, so they are written by hand here instead of carrying 10,000 generated lines of the interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

_SERVICE = "/runtime.v1.RuntimeService/"
_ID_FIELD = 1
_LISTED_FIELD = 1
_TIMEOUT_FIELD = 2


def stop_all(socket: Path, grace_seconds: int) -> int:
    """Ends all containers (SIGTERM, and SIGKILL after `grace_seconds`), removes all pods. Returns how many pods there were."""
    with grpc.insecure_channel(f"unix://{socket}") as channel, ThreadPoolExecutor(8) as pool:
        containers = _list(channel, "ListContainers")
        stop = _text(_TIMEOUT_FIELD, grace_seconds)
        list(pool.map(lambda c: _call(channel, "StopContainer", _text(_ID_FIELD, c) + stop, grace_seconds + 15), containers))
        pods = _list(channel, "ListPodSandbox")
        list(pool.map(lambda p: _call(channel, "StopPodSandbox", _text(_ID_FIELD, p), 30), pods))
        list(pool.map(lambda p: _call(channel, "RemovePodSandbox", _text(_ID_FIELD, p), 30), pods))
        return len(pods)


def _list(channel: grpc.Channel, method: str) -> list[str]:
    answer = _call(channel, method, b"", 10)
    items = (value for number, value in fields(answer) if number == _LISTED_FIELD and isinstance(value, bytes))
    return [identity for item in items for identity in [_identity(item)] if identity]


def _identity(item: bytes) -> str:
    return next((v.decode() for n, v in fields(item) if n == _ID_FIELD and isinstance(v, bytes)), "")


def _call(channel: grpc.Channel, method: str, request: bytes, timeout: float) -> bytes:
    call = channel.unary_unary(_SERVICE + method, request_serializer=lambda b: b, response_deserializer=lambda b: b)
    try:
        answer: bytes = call(request, timeout=timeout)
    except grpc.RpcError:
        # one pod that will not go must not keep the others; what is left is killed through its cgroup
        return b""
    return answer


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(field: int, value: str | int) -> bytes:
    if isinstance(value, int):
        return _varint(field << 3) + _varint(value)
    raw = value.encode()
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protobuf message: number and value. Fixed-width fields are passed over."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield tag >> 3, value
        elif kind == 2:
            size, at = _read_varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            at += 8 if kind == 1 else 4
