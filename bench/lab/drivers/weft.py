"""Weft: server and publisher on the seed's host, an agent that is connected and has nothing on every peer."""
import concurrent.futures
import json
import os
import pathlib

from drivers import OPTIONS, Driver, first_line
from members import Members

ROOT = pathlib.Path(__file__).resolve().parents[3]
SHARE = "tree"
ORIGIN = ("publisher", "server")  # who is on the seed's host
FIRST_VERSION_S = 120


def program():
    return os.path.abspath(OPTIONS.get("weft") or ROOT / "build/src/cmd/weft")


class Weft(Driver):
    """The clock runs from `weft get` on all peers to the last of them that ended with 0: verified, and on disk."""
    name, trees = "weft", True
    policy = "hybrid"

    def __init__(self, hosts, data):
        super().__init__(hosts, data)
        self.members = Members(hosts, program())

    @classmethod
    def missing(cls):
        return None if os.access(program(), os.X_OK) else f"{program()} (make build)"

    def version(self):
        return first_line(program(), "version")

    def prepare(self):
        self.members.start_all(["publisher", *self.hosts.peers])
        if not self.data.is_tree:
            self.members.publish(os.path.dirname(self.publish("src")), SHARE, self.policy)
            return
        self.members.publish(self.data.base or self.data.path, SHARE, self.policy)
        if self.data.base:
            self._first_version()
            self.members.publish(self.data.path, SHARE)

    def _first_version(self):
        for p in self.hosts.peers:
            self.fetch(p)
        for p in self.hosts.peers:
            self.hosts.wait_until(f"{p} to have the first version", lambda p=p: self.proc[p].poll() is not None, FIRST_VERSION_S)

    def fetch(self, peer):
        self.proc[peer] = self.members.begin_get(peer, SHARE, os.path.join(self.hosts.dir(peer), "dest"))

    def output(self, peer):
        return os.path.join(self.hosts.dir(peer), "dest", *(() if self.data.is_tree else ("data.bin",)))

    def figures(self, size):
        """Payload by who, as the receivers counted it, and what became of offers."""
        alive = [p for p in self.hosts.peers if p not in self.hosts.dead]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            told = pool.map(lambda p: self.members.why(p, SHARE), alive)
            rows = {p: {**why, "got": (self.members.got(p) or {}).get("sources")} for p, why in zip(alive, told)}
        if OPTIONS.get("details"):
            pathlib.Path(OPTIONS["details"]).write_text(json.dumps(rows, indent=1))
        return payload(rows, self.members.office, size)


class WeftCentral(Weft):
    """The server gives everything."""
    name = "weft-central"
    policy = "central"


OFFERS = {"offered": "offers_out", "accepted": "accepted_out", "busy": "declined_busy", "held": "declined_held",
          "wrong": "wrong", "broken": "broken"}


def payload(rows, office, size):
    """peer -> its `weft why` and `weft get`: copies by origin and by line.  Server and publisher are one origin.

    `weft why` names every source, but knows only of swarms; `weft get` knows what a server alone gave, but names the first 16
    sources.  So the one of them counts that tells of more bytes.
    """
    origin, line, offers = 0, {}, dict.fromkeys(OFFERS, 0)
    for peer, why in rows.items():
        for s in why.get("sources", []):
            for ours, theirs in OFFERS.items():
                offers[ours] += s.get(theirs, 0)
        whole = [(s["name"], s["bytes_in"]) for s in why.get("sources", [])]
        got = [(s["name"], s["bytes"]) for s in why.get("got") or []]
        for name, n in max(whole, got, key=lambda rows: sum(n for _, n in rows)):
            source, here = office(name), office(peer)
            origin += n if name in ORIGIN else 0
            if source != here:
                line.setdefault(source, {"in": 0, "out": 0})["out"] += n
                line.setdefault(here, {"in": 0, "out": 0})["in"] += n
    return {"origin_copies": round(origin / size, 3),
            "line_payload": {o: {k: round(v / size, 3) for k, v in ways.items()} for o, ways in line.items()},
            "offers": offers}
