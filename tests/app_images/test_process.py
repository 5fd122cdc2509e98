"""The process from outside: starting, readiness, overload, loss of the database, stopping, logs and metrics."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from mcp import Client

from tests.app_images.conftest import Server, wait_for

HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def call(server: Server, tool: str, arguments: dict, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
    """One legacy tool call by plain HTTP: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    connection.request("POST", "/mcp", json.dumps(body), {**HEADERS, **(headers or {})})
    answer = connection.getresponse()
    result = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    connection.close()
    return result


class Background(threading.Thread):
    """A call whose answer is looked at later."""

    def __init__(self, server: Server, tool: str, arguments: dict) -> None:
        super().__init__(daemon=True)
        self._call = (server, tool, arguments)
        self.answer: tuple[int, dict[str, str], str] | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = call(*self._call)
        except Exception as error:
            self.error = error

    def done(self) -> tuple[int, dict[str, str], str]:
        self.join(30)
        assert self.answer, self.error
        return self.answer


@contextmanager
def memories_locked(postgres, database: str) -> Iterator[None]:
    """Every statement about memories waits for as long as this lasts."""
    loop = asyncio.new_event_loop()
    options = {"host": "127.0.0.1", "port": postgres.port, "user": "sophia", "password": postgres.password, "database": database}
    connection = loop.run_until_complete(asyncpg.connect(**options))
    loop.run_until_complete(connection.execute("BEGIN; LOCK TABLE ai_memory.memories IN ACCESS EXCLUSIVE MODE"))
    try:
        yield
    finally:
        loop.run_until_complete(connection.execute("COMMIT"))
        loop.run_until_complete(connection.close())
        loop.close()


def in_flight(server: Server) -> float:
    line = next(line for line in server.metrics().splitlines() if line.startswith('active_connections{connection_type="http"'))
    return float(line.split()[-1])


def test_a_request_in_flight_is_answered_before_the_process_ends(servers, postgres):
    database = postgres.database()
    server = servers.start(postgres.settings(database))
    with memories_locked(postgres, database):
        request = Background(server, "list", {})
        wait_for(lambda: in_flight(server) == 1)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: server.get("/health")[0] == 0)
        assert server.process.poll() is None
    assert request.done()[0] == 200
    assert server.process.wait(10) == 0
    assert server.logs()[-1]["event"] == "stopped"


def test_the_second_sigterm_does_not_wait_for_requests_in_flight(servers, postgres):
    database = postgres.database()
    server = servers.start(postgres.settings(database))
    with memories_locked(postgres, database):
        Background(server, "list", {})
        wait_for(lambda: in_flight(server) == 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0


def test_what_outlasts_the_grace_is_cut(servers, postgres):
    database = postgres.database()
    server = servers.start(postgres.settings(database), shutdown_grace_seconds=1)
    with memories_locked(postgres, database):
        Background(server, "list", {})
        wait_for(lambda: in_flight(server) == 1)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        assert 1 <= time.monotonic() - began < 12


def test_overload_is_refused_at_once_with_a_time_to_come_back(servers, postgres):
    database = postgres.database()
    server = servers.start(postgres.settings(database), max_in_flight=1)
    with memories_locked(postgres, database):
        first = Background(server, "list", {})
        wait_for(lambda: in_flight(server) == 1)
        status, headers, body = call(server, "list", {})
        assert (status, headers["retry-after"]) == (503, "1")
        assert "1 requests are in flight" in body
        assert server.get("/health")[0] == 200
        assert server.get("/ready")[0] == 200
    assert first.done()[0] == 200
    assert call(server, "list", {})[0] == 200
    assert 'requests_shed_total{reason="overload",service_name="ai-memory"} 1.0' in server.metrics()


def test_without_its_database_a_new_process_is_alive_but_not_ready_until_it_comes(servers, postgres, proxy):
    pool = {**postgres.settings(postgres.database()), "port": proxy.port}
    server = servers.start(pool, wait=False)
    wait_for(lambda: server.get("/ready")[0] == 503)
    assert server.get("/health")[0] == 200
    status, headers, _ = call(server, "list", {})
    assert (status, headers["retry-after"]) == (503, "5")
    ready = json.loads(server.get("/ready")[1])
    assert ready["status"] == "starting"
    assert f"127.0.0.1:{proxy.port}" in ready["parts"]["postgres"]["detail"]
    proxy.mend()
    wait_for(server.ready)
    assert call(server, "list", {})[0] == 200


def test_a_stop_during_the_start_is_obeyed(servers, postgres, proxy):
    server = servers.start({**postgres.settings(postgres.database()), "port": proxy.port}, wait=False)
    wait_for(lambda: server.get("/health")[0] == 200)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(10) == 0


def test_a_database_that_goes_away_degrades_and_comes_back_by_itself(servers, postgres, proxy):
    proxy.mend()
    pool = {
        **postgres.settings(postgres.database()),
        "port": proxy.port,
        "breaker": {"failures": 2, "recovery_seconds": 60},
        "health_interval_seconds": 0.3,
    }
    server = servers.start(pool)
    call(server, "store", {"content": "kept through the outage"})
    proxy.cut()
    wait_for(lambda: json.loads(server.get("/ready")[1])["status"] == "degraded")
    assert server.get("/ready")[0] == 200
    for _ in range(3):
        answer = json.loads(call(server, "list", {})[2])["result"]
        assert answer["isError"]
        assert "memories cannot be reached" in answer["content"][0]["text"]
    assert 'circuit_breaker_state{backend="postgres",service_name="ai-memory"} 2.0' in server.metrics()
    assert 'backend_up{backend="postgres",service_name="ai-memory"} 0.0' in server.metrics()
    proxy.mend()
    wait_for(lambda: json.loads(server.get("/ready")[1])["status"] == "ready", 10)
    assert "kept through the outage" in call(server, "list", {})[2]


def test_connections_that_break_between_two_calls_are_replaced_without_a_failed_call(servers, postgres):
    database = postgres.database()
    server = servers.start(postgres.settings(database))
    for _ in range(3):
        postgres.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        assert '"isError":false' in call(server, "list", {})[2]


@pytest.mark.parametrize(
    ("host", "status"), [("ai-memory", 200), ("ai-memory:9001", 200), ("evil.example", 421), ("ai-memory.evil.example", 421)]
)
def test_only_the_services_own_names_are_served(shared_server, host, status):
    assert call(shared_server, "list", {}, {"Host": host})[0] == status


def test_a_body_larger_than_any_valid_call_is_refused(shared_server):
    assert call(shared_server, "store", {"content": "x" * 300_000})[0] == 413


@pytest.mark.parametrize(
    ("sent", "returned"),
    [
        ({"X-Correlation-Id": "order-4711"}, "order-4711"),
        ({"X-Request-Id": "abc.def"}, "abc.def"),
        ({"traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}, "a1" * 16),
        ({"X-Correlation-Id": "bad id {}", "X-Request-Id": "good"}, "good"),
    ],
)
def test_the_correlation_id_travels_into_every_log_line_and_back(shared_server, sent, returned):
    _, headers, _ = call(shared_server, "forget", {}, sent)
    assert headers["x-correlation-id"] == returned
    wait_for(lambda: any(line.get("correlation_id") == returned and line["event"] == "request" for line in shared_server.logs()))
    lines = [line for line in shared_server.logs() if line.get("correlation_id") == returned]
    assert any(line["logger"].startswith("mcp.") for line in lines), lines


def test_an_id_that_could_forge_a_log_line_is_replaced(shared_server):
    _, headers, _ = call(shared_server, "list", {}, {"X-Correlation-Id": 'x" {"event": "forged'})
    assert len(headers["x-correlation-id"]) == 32


def test_metrics_are_on_their_own_port_and_in_the_conventions_terms(shared_server):
    async def use() -> None:
        async with Client(shared_server.url, mode="2026-07-28") as client:
            await client.call_tool("list", {"namespace": "metrics"})
            assert (await client.call_tool("forget", {"namespace": "metrics"})).is_error

    asyncio.run(use())
    call(shared_server, "no-such-tool", {})
    text = shared_server.metrics()
    prefix = "mcp_server_operation_duration_seconds_count"
    base = 'mcp_method_name="tools/call",mcp_protocol_version="2026-07-28",service_name="ai-memory"'
    assert f'{prefix}{{error_type="",gen_ai_tool_name="list",{base}}}' in text
    assert f'{prefix}{{error_type="tool_error",gen_ai_tool_name="forget",{base}}}' in text
    assert 'gen_ai_tool_name="_OTHER"' in text
    assert "no-such-tool" not in text
    for bound in ("0.01", "0.05", "300.0"):
        assert f'le="{bound}"' in text
    for name in ("service_startup_duration_seconds_count", "active_connections", "connection_pool_size", "circuit_breaker_state"):
        assert f"\n{name}{{" in text
    assert shared_server.get("/metrics")[0] == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service": {"prot": 1}}, "service.prot: is not a known key"),
        ({"pools": {}}, "pools.postgres: is missing"),
    ],
)
def test_wrong_settings_end_the_process_with_one_line(servers, postgres, change, words):
    extra = change.get("service", {})
    server = servers.start(postgres.settings("x"), wait=False, **extra)
    if "pools" in change:
        server.process.kill()
        server.process.wait()
        settings = {**server.settings, "pools": {}}
        path = Path(server.log).parent / "config" / "settings.json"
        path.write_text(json.dumps(settings))
        server = servers.again(server)
    assert server.process.wait(20) == 2
    (line,) = server.logs()
    assert words in line["problem"]


def test_a_port_that_is_taken_is_said_in_one_line(servers, postgres):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        server = servers.start(postgres.settings("x"), wait=False, port=taken.getsockname()[1])
        assert server.process.wait(20) == 1
    assert [line["event"] for line in server.logs()] == ["cannot listen"]
    assert str(taken) not in server.log.read_text()


def test_the_password_is_nowhere_in_logs_answers_or_arguments(servers, postgres, proxy):
    proxy.mend()
    pool = {**postgres.settings(postgres.database()), "port": proxy.port, "health_interval_seconds": 0.3}
    server = servers.start(pool)
    shown = [call(server, "store", {"content": f"the password is {postgres.password}"})[2]]  # a caller's own text is the caller's
    shown.clear()
    proxy.cut()
    wait_for(lambda: json.loads(server.get("/ready")[1])["status"] == "degraded")
    shown += [call(server, "list", {})[2], server.get("/ready")[1], server.metrics()]
    shown.append(Path(f"/proc/{server.process.pid}/cmdline").read_text())
    shown.append(Path(f"/proc/{server.process.pid}/environ").read_text())
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(20)
    shown.append(server.log.read_text())
    assert not [text for text in shown if postgres.password in text]


def test_a_wrong_password_is_waited_out_and_said_without_the_password(servers, postgres):
    server = servers.start(postgres.settings(postgres.database()), wait=False, password="wrong-canary-4711")
    wait_for(lambda: "password authentication failed" in server.get("/ready")[1])
    assert server.get("/ready")[0] == 503
    (Path(server.log).parent / "secrets" / "postgres-password").write_text(postgres.password)
    wait_for(server.ready)
    assert "wrong-canary-4711" not in server.log.read_text()
