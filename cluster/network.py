"""The node's address and our iptables chains."""

from __future__ import annotations

import subprocess

from cluster import addresses as at
from cluster.commands import run, succeeds
from cluster.packages import find, require
from cluster.paths import Layout


def link_up(layout: Layout) -> None:
    """An interface without a cable that carries the node's address: it stays when the machine changes networks."""
    ip = require("ip")
    if not succeeds([ip, "link", "show", "dev", layout.link]) and not succeeds([ip, "link", "add", layout.link, "type", "dummy"]):
        run([ip, "link", "add", layout.link, "type", "bridge"])  # kernels without the dummy driver
    run([ip, "address", "replace", f"{at.NODE_IP}/32", "dev", layout.link])
    run([ip, "link", "set", layout.link, "up"])
    for network in (at.SERVICE_CIDR, at.POD_CIDR):
        # what kube-proxy does not translate and no pod's own route takes ends here, instead of at the default gateway,
        # where somebody else might answer; and a machine without any network reaches Services all the same
        run([ip, "route", "replace", network, "dev", layout.link, "src", at.NODE_IP])


def link_down(layout: Layout) -> None:
    ip = find("ip")
    if ip:
        succeeds([ip, "link", "delete", layout.link])


_TO_API = ("-j", "DNAT", "--to-destination", f"{at.NODE_IP}:{at.API_PORT}")


def chain_rules(layout: Layout) -> list[tuple[str, str, list[list[str]]]]:
    """Our rules: (table, built-in chain they hang on, rules). Each hangs in a chain named after this clone.

    Forwarding is allowed for pods (Docker sets the machine's default to DROP) and refused towards them from outside;
    the node's address answers this machine and its pods only; pods leave with the machine's address; and the API server,
    which listens on the node's address, is reached at 127.0.0.1 too (proxies are bypassed for loopback everywhere).
    """
    pods, node = at.POD_CIDR, f"{at.NODE_IP}/32"
    return [
        (
            "filter",
            "FORWARD",
            [
                ["-o", layout.link, "-j", "REJECT"],
                ["-s", pods, "-j", "ACCEPT"],
                ["-d", pods, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"],
                ["-d", pods, "-j", "DROP"],
            ],
        ),
        ("filter", "INPUT", [["-d", node, "!", "-i", "lo", "!", "-s", pods, "-j", "DROP"]]),
        ("filter", "OUTPUT", [["-d", at.SERVICE_CIDR, "-j", "REJECT"]]),  # still there: kube-proxy did not translate it
        (
            "nat",
            "POSTROUTING",
            [["-s", pods, "!", "-d", pods, "-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", "MASQUERADE"]],
        ),
        (
            "nat",
            "OUTPUT",
            [["-d", f"{at.LOOPBACK}/32", "-p", "tcp", "--dport", str(at.API_PORT), *_TO_API]],
        ),
    ]


def chain_name(layout: Layout, hook: str) -> str:
    """Name of our chain for a built-in one; iptables allows 28 characters."""
    return f"SOPHIA-{layout.id}-{hook[:8]}"


def chains_up(layout: Layout) -> None:
    iptables = [require("iptables"), "--wait"]
    for table, hook, rules in chain_rules(layout):
        chain = chain_name(layout, hook)
        if not succeeds([*iptables, "-t", table, "-N", chain]):
            run([*iptables, "-t", table, "-F", chain])
        for rule in rules:
            run([*iptables, "-t", table, "-A", chain, *rule])
        if not succeeds([*iptables, "-t", table, "-C", hook, "-j", chain]):
            run([*iptables, "-t", table, "-I", hook, "1", "-j", chain])


def chains_are_up(layout: Layout) -> bool:
    """Whether this clone's chains are there: its cluster was started since the machine booted, and not stopped."""
    iptables = find("iptables")
    return bool(iptables) and succeeds([str(iptables), "--wait", "-t", "filter", "-S", chain_name(layout, "FORWARD")])


def chains_down(layout: Layout) -> None:
    if not find("iptables"):
        return
    iptables = [require("iptables"), "--wait"]
    for table, hook, _ in chain_rules(layout):
        chain = chain_name(layout, hook)
        while succeeds([*iptables, "-t", table, "-D", hook, "-j", chain]):
            pass
        succeeds([*iptables, "-t", table, "-F", chain])
        succeeds([*iptables, "-t", table, "-X", chain])


def kube_chains() -> list[tuple[str, str]]:
    """(table, chain) of every kube-proxy chain on the machine, whoever made it."""
    save = find("iptables-save")
    if save is None:
        return []
    shown = subprocess.run([save], capture_output=True, text=True, check=False).stdout
    return parse_kube_chains(shown)


def parse_kube_chains(saved: str) -> list[tuple[str, str]]:
    """Reads `iptables-save`: the chains named KUBE-…, with their table."""
    table, found = "", []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":KUBE-"):
            found.append((table, line[1:].split()[0]))
    return found


def remove_kube_chains() -> None:
    """Removes what `kube-proxy --cleanup` leaves. Only ours can be there: `up` refuses a machine that has some already."""
    iptables = [require("iptables"), "--wait"]
    left = kube_chains()
    for table, chain in left:
        for hook in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"):
            while succeeds([*iptables, "-t", table, "-D", hook, "-j", chain]):
                pass
        succeeds([*iptables, "-t", table, "-F", chain])
    for table, chain in left:
        succeeds([*iptables, "-t", table, "-X", chain])
