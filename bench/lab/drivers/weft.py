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
    name = "weft"
    policy = "hybrid"
    share = "tree"

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
        self.offer(os.path.dirname(self.publish("src")))

    def offer(self, path, *args):
        """Published, readable for everybody, and whole at the server, which is on the seed's host too."""
        row = self.weft("seed", "publish", path, "--share", self.share, "--policy", self.policy, *args)
        self.weft("seed", "grant", self.share, "--all", "read", server=True)
        return row

    # -- while the clock runs

    def fetch(self, peer):
        with open(os.path.join(self.hosts.dir(peer), "get.json"), "wb") as out:
            self.proc[peer] = self.hosts.spawn(
                peer, [program(), "get", self.share, self.hosts.dir(peer) + "/dest", "--json", "--home", self.home(peer)], stdout=out)

    def output(self, peer):
        return os.path.join(self.hosts.dir(peer), "dest", "data.bin")

    # -- afterwards

    def figures(self, size):
        """Payload by who, as the receivers counted it, and what became of offers."""
        alive = [p for p in self.hosts.peers if p not in self.hosts.dead]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            rows = dict(zip(alive, pool.map(lambda p: self.why(p), alive)))
        if OPTIONS.get("details"):
            pathlib.Path(OPTIONS["details"]).write_text(json.dumps(rows, indent=1))
        return payload(rows, self.hosts.office, size)

    def why(self, peer):
        try:
            return self.weft(peer, "why", self.share)
        except RuntimeError as e:
            return {"error": str(e), "sources": []}


class WeftCentral(Weft):
    """The server gives everything."""
    name = "weft-central"
    policy = "central"


def payload(rows, office, size):
    """peer -> its `weft why`: copies by origin and by line.  The seed's server and publisher are one origin."""
    home = office("seed")
    origin, line, offers = 0, {}, {"offered": 0, "accepted": 0, "busy": 0, "held": 0, "wrong": 0, "broken": 0}

    def cross(a, b, n):
        if a != b:
            line.setdefault(a, {"in": 0, "out": 0})["out"] += n
            line.setdefault(b, {"in": 0, "out": 0})["in"] += n

    for peer, why in rows.items():
        for s in why.get("sources", []):
            from_origin = s.get("server") or s.get("name") in ("publisher", "server")
            origin += s["bytes_in"] if from_origin else 0
            cross(home if from_origin else office(s["name"]), office(peer), s["bytes_in"])
            for ours, theirs in (("offered", "offers_out"), ("accepted", "accepted_out"), ("busy", "declined_busy"),
                                 ("held", "declined_held"), ("wrong", "wrong"), ("broken", "broken")):
                offers[ours] += s.get(theirs, 0)
    return {"origin_copies": round(origin / size, 3),
            "line_payload": {o: {k: round(v / size, 3) for k, v in ways.items()} for o, ways in line.items()},
            "offers": offers}
