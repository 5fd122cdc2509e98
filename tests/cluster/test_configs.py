from __future__ import annotations

import base64
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import addresses as at
from cluster import configs, manifests
from cluster.certificates import ensure_all
from cluster.components import MANIFESTS_TASK, PAUSE_IMAGE_TASK, TASKS, Component, plan
from cluster.configs import Host
from cluster.paths import Layout
from cluster.supervisor import child_environment, rotate_logs

LAYOUT = Layout(Path("/home/somebody/a clone"))
_NAMES = """etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl containerd ctr coredns
metrics-server local-path-provisioner docker-registry dockerd busybox kwok"""
PROGRAMS = {name: f"/bin/{name}" for name in _NAMES.split()} | {"PATH": "/bin"}


def _cri(host: Host) -> dict[str, Any]:
    loaded = tomllib.loads(configs.containerd_toml(LAYOUT, host))
    cri: dict[str, Any] = loaded["plugins"]["io.containerd.grpc.v1.cri"]
    return cri


@pytest.mark.parametrize("may_lower", [True, False])
def test_scores_are_only_lowered_where_the_machine_lets_us(may_lower: bool) -> None:
    host = Host(may_lower_oom_score=may_lower)
    assert _cri(host)["restrict_oom_score_adj"] is not may_lower
    assert (configs.kubelet_config(LAYOUT, host)["oomScoreAdj"] < 0) is may_lower
    assert (configs.dockerd_config(LAYOUT, host)["oom-score-adjust"] < 0) is may_lower


def test_the_snapshotter_follows_the_file_system() -> None:
    assert _cri(Host(snapshotter="native"))["containerd"]["snapshotter"] == "native"


def test_everything_written_is_below_our_own_directories() -> None:
    ours = (str(LAYOUT.state), str(LAYOUT.run))
    loaded = tomllib.loads(configs.containerd_toml(LAYOUT, Host()))
    places = [loaded["root"], loaded["state"], loaded["grpc"]["address"], loaded["plugins"]["io.containerd.internal.v1.opt"]["path"]]
    docker = configs.dockerd_config(LAYOUT, Host())
    places += [docker[k] for k in ("data-root", "exec-root", "pidfile", "deprecated-key-path")]
    kubelet = configs.kubelet_config(LAYOUT, Host())
    places += [kubelet["podLogsDir"], kubelet["volumePluginDir"]]
    places += [configs.cni_conflist(LAYOUT)["plugins"][0]["ipam"]["dataDir"]]
    places += [configs.registry_config(LAYOUT)["storage"]["filesystem"]["rootdirectory"]]
    assert [p for p in places if not p.startswith(ours)] == []


def test_docker_changes_nothing_of_the_machines_network() -> None:
    docker = configs.dockerd_config(LAYOUT, Host())
    assert docker["bridge"] == "none"
    assert not any(docker[k] for k in ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy"))


def test_nobody_listens_beyond_this_machine() -> None:
    local = {at.LOOPBACK, at.NODE_IP}
    assert {listener.address for listener in (*at.REAL_LISTENERS, *at.SIMULATED_LISTENERS)} <= local
    for component in plan(LAYOUT, PROGRAMS, simulated=False):
        binds = [a.split("=", 1)[1] for a in component.argv if a.startswith(("--bind-address=", "--listen-"))]
        assert all(any(a in b for a in local) for b in binds), component.name
        assert "0.0.0.0" not in " ".join(component.argv)
    assert configs.kube_proxy_config(LAYOUT)["nodePortAddresses"] == [f"{at.NODE_IP}/32"]


def test_ports_are_given_once() -> None:
    for listeners in (at.REAL_LISTENERS, at.SIMULATED_LISTENERS):
        pairs = [(li.address, li.port) for li in listeners]
        assert len(pairs) == len(set(pairs))


def test_the_api_server_asks_who_is_there_and_what_they_may() -> None:
    flags = next(c.argv for c in plan(LAYOUT, PROGRAMS, simulated=False) if c.name == "kube-apiserver")
    assert {"--anonymous-auth=false", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"} <= set(flags)
    kubelet = configs.kubelet_config(LAYOUT, Host())
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert (kubelet["authorization"]["mode"], kubelet["readOnlyPort"]) == ("Webhook", 0)


def test_no_argument_holds_a_secret() -> None:
    words = ("password", "token=", "secret=")
    for simulated in (True, False):
        for component in plan(LAYOUT, PROGRAMS, simulated=simulated):
            assert not any(w in a.lower() for a in component.argv for w in words)


@pytest.mark.parametrize("simulated", [True, False])
def test_components_start_after_components_that_exist(simulated: bool) -> None:
    components = plan(LAYOUT, PROGRAMS, simulated=simulated)
    known = {c.name for c in components} | set(TASKS)
    seen: set[str] = {MANIFESTS_TASK, PAUSE_IMAGE_TASK}
    for component in components:
        assert set(component.after) <= known
        assert set(component.after) <= seen, f"{component.name} is listed before what it waits for"
        seen.add(component.name)


def test_sockets_stay_short_whatever_the_clones_path() -> None:
    deep = Layout(Path("/" + "/".join(["directory"] * 40)))
    below_kubelet = "kubelet/pod-resources/kubelet.sock"
    for path in (deep.containerd_socket, deep.docker_socket, deep.data_link / below_kubelet):
        assert len(str(path)) < 108


def test_foreign_names_are_forwarded_only_where_there_is_a_resolver() -> None:
    assert "forward . /etc/resolv.conf" in configs.corefile(LAYOUT, Host())
    assert "forward" not in configs.corefile(LAYOUT, Host(name_servers=False))


def test_the_encryption_key_is_made_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.pki.mkdir(parents=True)
    first = configs.ensure_encryption_key(layout).read_text()
    assert configs.ensure_encryption_key(layout).read_text() == first
    key = yaml.safe_load(first)["resources"][0]["providers"][0]["secretbox"]["keys"][0]["secret"]
    assert len(base64.b64decode(key)) == 32


def test_json_and_yaml_files_are_readable() -> None:
    for name, text in configs.rendered(LAYOUT, Host()).items():
        if name.endswith((".json", ".conflist")):
            json.loads(text)
        elif name.endswith(".yaml"):
            yaml.safe_load(text)


@pytest.mark.parametrize("name", ["real", "simulated"])
def test_system_objects_are_complete(name: str, tmp_path: Path) -> None:
    ensure_all(tmp_path)
    objects = manifests.load(name, tmp_path)
    assert all({"apiVersion", "kind", "metadata"} <= set(o) for o in objects)
    classes = [o for o in objects if o["kind"] == "StorageClass"]
    assert [c["metadata"]["name"] for c in classes] == ["local-path"]


def test_only_what_pulls_images_sees_the_users_proxy() -> None:
    own = {"PATH": "/bin", "HTTPS_PROXY": "http://proxy:3128", "AWS_SECRET_ACCESS_KEY": "x", "NO_PROXY": "example.org"}
    pulls = child_environment(Component("dockerd", ()), LAYOUT, own)
    assert pulls["HTTPS_PROXY"] == "http://proxy:3128"
    assert pulls["NO_PROXY"].startswith("example.org,localhost,")
    other = child_environment(Component("kube-apiserver", ()), LAYOUT, own)
    assert set(other) == {"PATH", "HOME", "LANG"}


def test_a_large_log_is_put_aside_and_written_on(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    with log.open("ab") as writer:
        writer.write(b"x" * 200)
        writer.flush()
        rotate_logs(tmp_path, limit=100)
        writer.write(b"after")
        writer.flush()
    assert log.read_bytes() == b"after"
    assert len((tmp_path / "etcd.log.1").read_bytes()) == 200
