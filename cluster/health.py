"""Asks one process whether it works."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from pathlib import Path

from cluster.components import Health
from cluster.kubeapi import tls_context

_TIMEOUT = 3


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


def is_healthy(health: Health, pki: Path) -> bool:
    """Whether the check passes now. A component without a check is healthy as long as it lives."""
    try:
        if health.url:
            return _get(health, pki)
        if health.socket:
            return _knock(health)
    except (OSError, http.client.HTTPException):
        return False
    return True


def _get(health: Health, pki: Path) -> bool:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if health.url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=tls_context(pki, health.identity)))
    with urllib.request.build_opener(*handlers).open(health.url, timeout=_TIMEOUT) as answer:
        return bool(answer.status == http.client.OK)


def _knock(health: Health) -> bool:
    connection = _UnixConnection(health.socket)
    try:
        connection.connect()
        if not health.path:
            return True
        connection.request("GET", health.path)
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()
