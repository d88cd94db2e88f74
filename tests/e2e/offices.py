"""Offices with slow lines between them, as network namespaces, made by bench/lab.  Root only: `needs_namespaces` says why not.

A world is a server (on a host of its own), a publisher and members in offices whose lines carry LINE_MBIT.  What crossed the
line of an office is what its members say they fetched from members elsewhere.
"""
import contextlib
import hashlib
import os
import pathlib
import re
import sys
import time

import pytest

from weft import BIN, noise

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/lab"))
import net as lab_net  # noqa: E402
from hosts import Hosts  # noqa: E402
from members import Members  # noqa: E402

LINE_MBIT, LAN_MBIT = 20, 200
SHARE = "tree"
SLOWER = 3  # than a release build on a quiet machine may anything take
FINDING = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")

WHY_NOT = lab_net.why_not()
needs_namespaces = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "")


def topology(peers, delay_ms=0):
    """Two offices: "hq" with seed and server, "branch"; PEERS: office -> number of further hosts."""
    lines = {o: {"wan_up": LINE_MBIT, "wan_down": LINE_MBIT, "delay_ms": delay_ms, "loss": 0} for o in ("hq", "branch")}
    names = {"seed": "hq", "server": "hq", **{f"{o}{i}": o for o, n in peers.items() for i in range(1, n + 1)}}
    return {"name": "offices", "offices": lines, "events": [],
            "hosts": {h: {"office": o, "up": LAN_MBIT, "down": LAN_MBIT} for h, o in names.items()}}


class World:
    def __init__(self, hosts, mib, rng, labels=None):
        self.hosts, self.net, self.size = hosts, hosts.net, mib << 20
        self.members = Members(hosts, BIN, server_host="server", labels=labels)
        self.peers = [h for h in hosts.peers if h != "server"]
        self.members.start_all(["publisher", *self.peers])
        content = noise(rng, self.size)
        self.digest = hashlib.sha256(content).hexdigest()
        src = pathlib.Path(hosts.dir("seed"), "src")
        src.mkdir()
        (src / "file").write_bytes(content)
        self.members.publish(src, SHARE, "hybrid")

    def dest(self, peer):
        return os.path.join(self.hosts.dir(peer), "dest")

    def begin(self, peers=None):
        self.gets = {p: self.members.begin_get(p, SHARE, self.dest(p)) for p in peers or self.peers}

    def here(self, peer):
        """What part of it the peer has got so far."""
        got = self.members.weft(peer, "jobs")
        rows = [j for j in got if j.get("kind") == "get"]
        return 1.0 if self.gets[peer].poll() is not None else max((j.get("done", 0) for j in rows), default=0) / self.size

    def wait_for_part(self, peer, part):
        """Until it has that part; the test is about the middle, so being done already is a failure of the test."""
        self.hosts.wait_until(f"{peer} to have {part:.0%}", lambda: self.here(peer) >= part, 60)
        assert self.gets[peer].poll() is None, "done before the middle: the data is too small for this machine"

    def finish(self, seconds, but=()):
        """Everybody who lives has all of it, in time, and right."""
        end = time.monotonic() + seconds * SLOWER
        for peer, p in self.gets.items():
            if peer in but:
                continue
            left = max(0.1, end - time.monotonic())
            with contextlib.suppress(Exception):
                p.wait(timeout=left)
            assert p.poll() == 0, f"{peer}: {'still at it' if p.poll() is None else p.poll()}: {self.tell(peer)}"
            content = pathlib.Path(self.dest(peer), "file").read_bytes()
            assert hashlib.sha256(content).hexdigest() == self.digest, f"{peer}: wrong bytes"

    def tell(self, peer):
        return self.members.why(peer, SHARE), pathlib.Path(self.hosts.work, peer + ".log").read_text()[-1000:]

    def copies_into(self, office, but=()):
        """How often what the living members of the office have came in over its line."""
        inside = [p for p in self.peers if self.hosts.office(p) == office and p not in but]
        n = sum(s["bytes"] for p in inside for s in self.members.got(p)["sources"] if self.members.office(s["name"]) != office)
        return n / self.size

    def kill(self, member):
        """The daemon, at once; its host stays."""
        self.members.daemons[member].kill()
        self.members.daemons[member].wait()

    def findings(self):
        """What a sanitizer said, anywhere."""
        logs = [p for p in pathlib.Path(self.hosts.work).glob("*.log") if FINDING.search(p.read_text(errors="replace"))]
        return [f"{p.name}: {p.read_text(errors='replace')[-3000:]}" for p in logs]


@contextlib.contextmanager
def world(tmp_path, peers, mib, rng, delay_ms=0, labels=None):
    with lab_net.Net(topology(peers, delay_ms)) as net, Hosts(net, tmp_path / "hosts") as hosts:
        w = World(hosts, mib, rng, labels)
        yield w
        assert not w.findings(), "\n".join(w.findings())
