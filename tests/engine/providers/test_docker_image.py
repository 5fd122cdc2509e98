"""DockerProvider against an engine API that answers as Docker's documents, over HTTP."""

from __future__ import annotations

import base64
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.provider import Call, Changes, PropertyDiff, ProviderError
from engine.providers.docker_engine import HUB, registry_of, split_tag
from engine.providers.docker_image import DockerProvider
from engine.values import UNKNOWN, Secret

URN = "urn:pulumi:dev::p::docker:index/image:Image::app"
NAME = "localhost:5000/golden/app:v1"
ID = "sha256:" + "1" * 64
DIGEST = "sha256:" + "c" * 64
BUILT: list[dict[str, Any]] = [
    {"stream": "Step 1/2 : ARG BASE"},
    {"stream": "\n"},
    {"stream": "Step 2/2 : FROM ${BASE}\n"},
    {"stream": " ---> 115093457bf9\n"},
    {"aux": {"ID": ID}},
    {"stream": "Successfully built 115093457bf9\n"},
]
PUSHED: list[dict[str, Any]] = [
    {"status": "The push refers to repository [localhost:5000/golden/app]"},
    {"status": "Pushing", "progress": "[=>] 1kB/2kB", "id": "l1"},
    {"status": f"v1: digest: {DIGEST} size: 736"},
    {"progressDetail": {}, "aux": {"Tag": "v1", "Digest": DIGEST, "Size": 736}},
]


class FakeEngine:
    """Answers builds, pushes and pulls from lists, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[dict[str, Any]]] = {"build": BUILT, "push": PUSHED, "create": []}
        self.status = {"build": 200, "push": 200, "create": 200}
        self.asked: dict[str, tuple[dict[str, list[str]], dict[str, str], bytes]] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self.host = f"tcp://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def query(self, what: str) -> dict[str, list[str]]:
        return self.asked[what][0]

    def header(self, what: str, name: str) -> Any:
        return json.loads(base64.urlsafe_b64decode(self.asked[what][1][name]))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, fake: FakeEngine, *args: Any) -> None:
        self.fake = fake
        super().__init__(*args)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.answer(200, json.dumps({"ApiVersion": "1.41"} if path.endswith("/version") else {"Id": ID}).encode())

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        what = url.path.rsplit("/", 1)[-1]
        self.fake.asked[what] = (parse_qs(url.query), dict(self.headers), self.body())
        lines = [json.dumps(line).encode() + b"\r\n" for line in self.fake.answers[what]]
        if self.fake.status[what] == 200:
            self.stream(lines)
        else:
            self.answer(self.fake.status[what], b"".join(lines))

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def stream(self, lines: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in [*lines, b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ctx"
    folder.mkdir()
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY hello.txt /hello.txt\n")
    (folder / "hello.txt").write_text("hi\n")
    for file in folder.iterdir():
        file.chmod(0o644)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    for name in ("DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def provider(program: Path, engine: FakeEngine) -> DockerProvider:
    made = DockerProvider(program)
    made.configure({"host": engine.host})
    return made


class Recorder:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []

    def call(self, *, preview: bool = False, urn: str = URN) -> Call:
        return Call(urn, preview, threading.Event(), lambda s, m, e: self.lines.append((s, m, e)))

    @property
    def text(self) -> str:
        return "\n".join(message for _, message, _ in self.lines)


@pytest.fixture
def run() -> Recorder:
    return Recorder()


BUILD: dict[str, Any] = {
    "context": "ctx",
    "dockerfile": "ctx/Dockerfile",
    "platform": "linux/amd64",
    "args": {"BASE": "localhost/python:3.11-bookworm"},
}
GIVEN: dict[str, Any] = {"imageName": NAME, "build": BUILD, "buildOnPreview": False, "skipPush": False}
CHECKED: dict[str, Any] = {
    **GIVEN,
    "build": {**BUILD, "contextDigest": "50a81acb8d87232316eca25b630440b2abe1af7daebb354ddfcd5302ac6307ce"},
}
OUTPUTS: dict[str, Any] = {
    "__inputs": Secret(CHECKED),
    "baseImageName": NAME,
    "context": "ctx",
    "dockerfile": "Dockerfile",
    "imageName": NAME,
    "platform": "linux/amd64",
    "registryServer": "",
    "repoDigest": f"localhost:5000/golden/app@{DIGEST}",
}


def test_check_adds_the_digest_of_the_context(provider: DockerProvider, run: Recorder) -> None:
    checked = provider.check(run.call(), None, GIVEN, b"")
    assert (checked.inputs, list(checked.failures), run.lines) == (CHECKED, [], [])


def test_check_completes_what_is_not_said(provider: DockerProvider, run: Recorder, program: Path) -> None:
    (program / "Dockerfile").write_text("FROM scratch\n")
    checked = provider.check(run.call(), None, {"imageName": NAME, "skipPush": True}, b"")
    build = checked.inputs["build"]
    assert (checked.inputs["buildOnPreview"], build["context"], build["dockerfile"]) == (False, ".", "Dockerfile")
    assert build["platform"].startswith("linux/")
    assert "explicitly setting the `platform`" in run.text


def test_check_waits_for_what_is_unknown(provider: DockerProvider, run: Recorder) -> None:
    inputs = {"imageName": UNKNOWN, "build": {"context": UNKNOWN, "platform": "p"}, "buildOnPreview": UNKNOWN}
    checked = provider.check(run.call(preview=True), None, inputs, b"")
    expected = {"context": UNKNOWN, "dockerfile": UNKNOWN, "platform": "p"}
    assert (checked.inputs["build"], list(checked.failures)) == (expected, [])


def test_check_keeps_secrets(provider: DockerProvider, run: Recorder) -> None:
    build = {**BUILD, "args": {"TOKEN": Secret("t0ken")}}
    assert provider.check(run.call(), None, {**GIVEN, "build": build}, b"").inputs["build"]["args"] == build["args"]
    whole = provider.check(run.call(), None, {**GIVEN, "build": Secret(BUILD)}, b"").inputs["build"]
    assert whole == Secret(CHECKED["build"])


@pytest.mark.parametrize(
    ("change", "property_", "words"),
    [
        ({"build": {**BUILD, "dockerfile": "Dockerfile"}}, "build", "Try setting `dockerfile` to 'ctx/Dockerfile'"),
        ({"build": {**BUILD, "dockerfile": "none"}}, "build", "dockerfile: none: no such file"),
        ({"build": {**BUILD, "context": "none"}}, "build", "context: none: no such folder"),
        ({"build": {**BUILD, "context": "https://example.com/x.git"}}, "build", "need the pulumi CLI"),
        ({"build": {**BUILD, "builderVersion": "V3"}}, "build", "BuilderV1 or BuilderBuildKit"),
        ({"build": "ctx"}, "build", "must be an object"),
        ({"imageName": "golden/app:v1"}, "imageName", "names no registry"),
        ({"imageName": None}, "imageName", "Missing required"),
        (
            {"skipPush": True, "build": {**BUILD, "cacheFrom": {"images": ["a/b"]}}},
            "build.cacheFrom.images",
            "'a/b' names no",
        ),
    ],
)
def test_check_failures(provider: DockerProvider, run: Recorder, change: dict[str, Any], property_: str, words: str) -> None:
    failures = provider.check(run.call(), None, {**GIVEN, **change}, b"").failures
    assert property_ in [f.property for f in failures]
    assert words in " ".join(f.reason for f in failures)


def test_a_local_name_is_enough_without_a_push(provider: DockerProvider, run: Recorder) -> None:
    assert not provider.check(run.call(), None, {**GIVEN, "imageName": "app", "skipPush": True}, b"").failures


def test_create_builds_pushes_and_records(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    created = provider.create(run.call(), CHECKED)
    assert (created.id, created.outputs) == (NAME, OUTPUTS)
    query = engine.query("build")
    assert (query["t"], query["dockerfile"], query["platform"]) == ([NAME], ["Dockerfile"], ["linux/amd64"])
    assert json.loads(query["buildargs"][0]) == BUILD["args"]
    with tarfile.open(fileobj=BytesIO(engine.asked["build"][2])) as archive:
        assert sorted(archive.getnames()) == ["Dockerfile", "hello.txt"]
    assert engine.query("push")["tag"] == ["v1"]
    assert {(severity, ephemeral) for severity, _, ephemeral in run.lines} == {("info", True)}
    for line in (
        "Starting Docker build",
        "Step 2/2 : FROM ${BASE}",
        "Pushing [=>] 1kB/2kB",
        f"Pushed image with digest {DIGEST}",
    ):
        assert line in run.text


def test_build_options_reach_the_engine(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    more = {
        "target": "final",
        "network": "host",
        "addHosts": ["a:1.2.3.4", "b:::1"],
        "cacheFrom": {"images": ["r.io/a:c"]},
    }
    provider.create(run.call(), {**CHECKED, "build": {**CHECKED["build"], **more}})
    query = engine.query("build")
    assert (query["target"], query["networkmode"], query["extrahosts"]) == (["final"], ["host"], ["a:1.2.3.4", "b:::1"])
    assert json.loads(query["cachefrom"][0]) == ["r.io/a:c"]
    assert engine.query("create")["fromImage"] == ["r.io/a"]


def test_a_missing_cache_does_not_fail_the_build(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    engine.answers["create"] = [{"error": "manifest unknown"}]
    provider.create(run.call(), {**CHECKED, "build": {**CHECKED["build"], "cacheFrom": {"images": ["r.io/a:c"]}}})
    assert "no build cache from r.io/a:c" in run.text


def test_without_a_push_the_digest_is_the_local_id(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    outputs = provider.create(run.call(), {**CHECKED, "skipPush": True}).outputs
    assert outputs["repoDigest"] == ID
    assert "push" not in engine.asked


def test_logins_go_in_headers_and_nowhere_else(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    registry = {"server": "http://localhost:5000", "username": "u", "password": Secret("p4ssword")}
    engine.answers["push"] = [{"status": "using p4ssword"}, *PUSHED]
    outputs = provider.create(run.call(), {**CHECKED, "registry": registry}).outputs
    assert engine.header("push", "X-Registry-Auth")["password"] == "p4ssword"
    assert engine.header("build", "X-Registry-Config")["localhost:5000"]["username"] == "u"
    assert outputs["registryServer"] == "http://localhost:5000"
    assert "p4ssword" not in run.text and "using [secret]" in run.text
    assert "p4ssword" not in repr(outputs)


def test_logins_of_the_host_are_used(provider: DockerProvider, run: Recorder, engine: FakeEngine, program: Path) -> None:
    (program / "docker").mkdir()
    auth = base64.b64encode(b"hans:geheim").decode()
    (program / "docker/config.json").write_text(json.dumps({"auths": {"localhost:5000": {"auth": auth}}}))
    provider.create(run.call(), CHECKED)
    assert engine.header("push", "X-Registry-Auth")["username"] == "hans"


def test_logins_of_the_provider_are_used(program: Path, run: Recorder, engine: FakeEngine) -> None:
    provider = DockerProvider(program)
    logins = json.dumps([{"address": "localhost:5000", "username": "pu", "password": "pp"}])
    provider.configure(provider.check_config({"host": engine.host, "registryAuth": logins}))
    provider.create(run.call(), CHECKED)
    assert engine.header("push", "X-Registry-Auth")["username"] == "pu"


def test_outputs_of_secret_inputs_are_secret(provider: DockerProvider, run: Recorder) -> None:
    outputs = provider.create(run.call(), {**CHECKED, "imageName": Secret(NAME)}).outputs
    for name in ("imageName", "baseImageName", "repoDigest"):
        assert isinstance(outputs[name], Secret)
    assert outputs["platform"] == "linux/amd64"


def test_a_failed_step_is_one_error_with_its_last_lines(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    engine.answers["build"] = [
        {"stream": "Step 3/4 : RUN make\n"},
        {"stream": "compiling with hunter22\n"},
        {"stream": "no rule\n"},
        {
            "errorDetail": {"code": 2, "message": "x"},
            "error": "The command '/bin/sh -c make' returned a non-zero code: 2",
        },
    ]
    build = {**CHECKED["build"], "args": {"TOKEN": Secret("hunter22")}}
    with pytest.raises(ProviderError) as caught:
        provider.create(run.call(), {**CHECKED, "build": build})
    assert str(caught.value) == (
        f"building {NAME} failed at Step 3/4 : RUN make: The command '/bin/sh -c make' returned a non-zero code: 2\n"
        "  compiling with [secret]\n  no rule"
    )


@pytest.mark.parametrize(
    ("what", "answer", "status", "words"),
    [
        (
            "build",
            [{"error": "the --mount option requires BuildKit"}],
            200,
            "classic builder; what needs BuildKit needs the pulumi",
        ),
        (
            "build",
            [{"message": "dockerfile parse error line 1: x"}],
            400,
            f"building {NAME} failed: dockerfile parse error line 1: x",
        ),
        ("push", [{"error": "unauthorized: no"}], 200, "Check `registry.username`"),
        ("push", [{"status": "done"}], 200, "confirmed no digest"),
    ],
)
def test_refusals(
    provider: DockerProvider,
    run: Recorder,
    engine: FakeEngine,
    what: str,
    answer: list[dict[str, Any]],
    status: int,
    words: str,
) -> None:
    engine.answers[what], engine.status[what] = answer, status
    with pytest.raises(ProviderError) as caught:
        provider.create(run.call(), CHECKED)
    assert words in str(caught.value)


def test_no_engine(program: Path, run: Recorder) -> None:
    provider = DockerProvider(program)
    provider.configure({"host": f"unix://{program}/none.sock"})
    with pytest.raises(ProviderError, match=r"cannot reach the Docker engine at unix://.*none.sock: No such file or directory"):
        provider.create(run.call(), CHECKED)


def test_a_cancelled_build_stops(provider: DockerProvider) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ProviderError, match="stopped, as asked"):
        provider.create(Call(URN, False, cancelled), CHECKED)


@pytest.mark.parametrize(
    ("old", "new", "detailed"),
    [
        ({}, {}, {}),
        ({}, {"imageName": "localhost:5000/golden/app:v2"}, {"imageName": PropertyDiff("update")}),
        ({}, {"build": {**CHECKED["build"], "contextDigest": "other"}}, {"build": PropertyDiff("update")}),
        ({}, {"registry": {"server": "s"}}, {"registry": PropertyDiff("add")}),
        ({"registry": {"server": "s"}}, {}, {"registry": PropertyDiff("delete")}),
        ({"registry": {"server": "s", "password": "a"}}, {"registry": {"server": "s", "password": Secret("b")}}, {}),
        ({"registry": {"server": "s"}}, {"registry": {"server": "t"}}, {"registry": PropertyDiff("update")}),
        ({}, {"imageName": UNKNOWN}, {"imageName": PropertyDiff("update")}),
    ],
)
def test_diff(provider: DockerProvider, run: Recorder, old: dict[str, Any], new: dict[str, Any], detailed: dict[str, Any]) -> None:
    outputs = {**OUTPUTS, "__inputs": Secret({**CHECKED, **old})}
    found = provider.diff(run.call(), NAME, {}, outputs, {**CHECKED, **new}, [])
    assert (found.changes, found.detailed or {}) == (Changes.SOME if detailed else Changes.NONE, detailed)
    assert not found.replaces


def test_preview_shows_inputs_and_builds_only_if_asked(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    assert provider.create(run.call(preview=True), CHECKED).outputs == CHECKED
    assert provider.update(run.call(preview=True), NAME, {}, OUTPUTS, CHECKED, []) == CHECKED
    assert not engine.asked
    eager = {**CHECKED, "buildOnPreview": True}
    created = provider.create(run.call(preview=True), eager)
    assert (created.id, created.outputs["repoDigest"], set(engine.asked)) == ("", UNKNOWN, {"build"})
    unknown = {**eager, "imageName": UNKNOWN}
    assert provider.create(run.call(preview=True), unknown).outputs == unknown
    assert run.lines[-1][0] == "warning"


def test_update_builds_again_and_delete_does_nothing(provider: DockerProvider, run: Recorder, engine: FakeEngine) -> None:
    assert provider.update(run.call(), NAME, {}, {}, CHECKED, []) == OUTPUTS
    engine.asked.clear()
    provider.delete(run.call(), NAME, CHECKED, OUTPUTS)
    assert not engine.asked
    assert provider.read(run.call(), NAME, CHECKED, OUTPUTS).outputs == OUTPUTS


def test_other_types_need_the_cli(provider: DockerProvider, run: Recorder) -> None:
    with pytest.raises(ProviderError, match="needs the pulumi CLI"):
        provider.check(run.call(urn=URN.replace("image:Image", "container:Container")), None, {}, b"")


def test_a_misspelt_provider_setting(provider: DockerProvider) -> None:
    with pytest.raises(ProviderError, match="docker provider: hots: not a setting"):
        provider.check_config({"hots": "x"})


@pytest.mark.parametrize(
    ("server", "image", "expected"),
    [
        ("", "localhost:5000/a/b:c", "localhost:5000"),
        ("", "docker.io/a/b", HUB),
        ("", "localhost/a", "localhost"),
        ("https://index.docker.io/v1/", "a/b", HUB),
        ("https://r.example.com/v2/", "a/b", "r.example.com"),
        ("r.example.com:8443", "a/b", "r.example.com:8443"),
    ],
)
def test_where_a_login_is_filed(server: str, image: str, expected: str) -> None:
    assert registry_of(server, image) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost:5000/a/b:c", ("localhost:5000/a/b", "c")),
        ("localhost:5000/a", ("localhost:5000/a", "latest")),
        ("a:b", ("a", "b")),
    ],
)
def test_split_tag(name: str, expected: tuple[str, str]) -> None:
    assert split_tag(name) == expected
