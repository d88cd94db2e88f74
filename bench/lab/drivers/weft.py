"""Weft: server and publisher on the seed's host, an agent that is connected and has nothing on every peer."""
import concurrent.futures
import json
import os
import pathlib

from drivers import OPTIONS, Driver, first_line

SERVER_PORT, AGENT_PORT = 7470, 7471
ROOT = pathlib.Path(__file__).resolve().parents[3]


def program():
    return os.path.abspath(OPTIONS.get("weft") or ROOT / "build/src/cmd/weft")


class Weft(Driver):
    """The clock runs from `weft get` on all peers to the last of them that ended with 0: verified, and on disk."""
    name, trees = "weft", True
    policy = "hybrid"
    share = "tree"
    offered = False

    @classmethod
    def missing(cls):
        return None if os.access(program(), os.X_OK) else f"{program()} (make build)"

    def version(self):
        return first_line(program(), "version")

    # -- making ready

    def home(self, host, server=False):
        return os.path.join(self.hosts.dir(host), "server" if server else "home")

    def weft(self, host, *args, server=False):
        """A command on the host; what it prints as JSON."""
        out = self.hosts.run(host, [program(), *args, "--json", "--home", self.home(host, server)])
        return json.loads(out) if out.strip() else {}

    def daemon(self, host, port, *args, server=False):
        home, at = self.home(host, server), f"{self.hosts.addr[host]}:{port}"
        p = self.hosts.spawn(host, [program(), *args, "--listen", at, "--advertise", at, "--home", home])

        def answers():
            if p.poll() is not None:
                raise RuntimeError(f"{host}: weft {args[0]} did not start")
            return os.path.exists(home + "/control.sock")
        self.hosts.wait_until(f"{host}: weft {args[0]}", answers, 20)
        return p

    def start_server(self):
        self.daemon("seed", SERVER_PORT, "server", "--name", "server", *self.site("seed"), server=True)

    def site(self, host):
        """A label for each office; none where there is one LAN."""
        return ("--site", self.hosts.office(host)) if len(self.hosts.topo["offices"]) > 1 else ()

    def join(self, host, invite):
        self.weft(host, "join", invite, "--name", self.member(host), *self.site(host))
        self.daemon(host, AGENT_PORT, "agent")

    @staticmethod
    def member(host):
        return "publisher" if host == "seed" else host

    def start_agents(self):
        members = self.hosts.hosts
        invite = self.weft("seed", "invite", "--uses", str(len(members)), server=True)["invite"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda h: self.join(h, invite), members))
        for h in members:
            self.hosts.wait_until(f"{h} to be connected", lambda h=h: self.weft(h, "status").get("connected"), 20)

    def prepare(self):
        self.start_server()
        self.start_agents()
        if not self.data.is_tree:
            self.offer(os.path.dirname(self.publish("src")))
        elif not self.data.base:
            self.offer(self.data.path)
        else:
            self.offer(self.data.base)
            for p in self.hosts.peers:
                self.fetch(p)
            for p in self.hosts.peers:
                self.hosts.wait_until(f"{p} to have the first version", lambda p=p: self.proc[p].poll() is not None, 120)
            self.offer(self.data.path)

    def offer(self, path):
        """Published, readable for everybody, and whole at the server, which is on the seed's host too."""
        self.weft("seed", "publish", path, "--share", self.share, *(() if self.offered else ("--policy", self.policy)))
        if not self.offered:
            self.weft("seed", "grant", self.share, "--all", "read", server=True)
        self.offered = True

    # -- while the clock runs

    def fetch(self, peer):
        with open(os.path.join(self.hosts.dir(peer), "get.json"), "wb") as out:
            self.proc[peer] = self.hosts.spawn(
                peer, [program(), "get", self.share, self.hosts.dir(peer) + "/dest", "--json", "--home", self.home(peer)], stdout=out)

    def output(self, peer):
        return os.path.join(self.hosts.dir(peer), "dest", *(() if self.data.is_tree else ("data.bin",)))

    # -- afterwards

    def figures(self, size):
        """Payload by who, as the receivers counted it, and what became of offers."""
        alive = [p for p in self.hosts.peers if p not in self.hosts.dead]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            rows = dict(zip(alive, pool.map(self.why, alive)))
        if OPTIONS.get("details"):
            pathlib.Path(OPTIONS["details"]).write_text(json.dumps(rows, indent=1))
        return payload(rows, self.hosts.office, size)

    def why(self, peer):
        """Its `weft why`, with what its `weft get` says it fetched from whom."""
        try:
            row = self.weft(peer, "why", self.share)
        except RuntimeError as e:
            row = {"error": str(e)}
        got = pathlib.Path(self.hosts.dir(peer), "get.json").read_text()
        return row | {"got": json.loads(got)["sources"] if got.startswith("{") else None}


class WeftCentral(Weft):
    """The server gives everything."""
    name = "weft-central"
    policy = "central"


OFFERS = {"offered": "offers_out", "accepted": "accepted_out", "busy": "declined_busy", "held": "declined_held",
          "wrong": "wrong", "broken": "broken"}


def payload(rows, office, size):
    """peer -> its `weft why` and `weft get`: copies by origin and by line.  The seed's server and publisher are one origin.

    What a peer says when it is done counts; of one that is not, what it has so far.
    """
    home = office("seed")
    origin, line, offers = 0, {}, dict.fromkeys(OFFERS, 0)
    for peer, why in rows.items():
        for s in why.get("sources", []):
            for ours, theirs in OFFERS.items():
                offers[ours] += s.get(theirs, 0)
        for s in why.get("sources", []) if why.get("got") is None else why["got"]:
            n, from_origin = s["bytes_in" if "bytes_in" in s else "bytes"], s["name"] in ("publisher", "server")
            source, here = home if from_origin else office(s["name"]), office(peer)
            origin += n if from_origin else 0
            if source != here:
                line.setdefault(source, {"in": 0, "out": 0})["out"] += n
                line.setdefault(here, {"in": 0, "out": 0})["in"] += n
    return {"origin_copies": round(origin / size, 3),
            "line_payload": {o: {k: round(v / size, 3) for k, v in ways.items()} for o, ways in line.items()},
            "offers": offers}
