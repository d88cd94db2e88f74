"""A Weft server and its agents on the hosts of a network.

A member goes by the name that the others see: "server", "publisher" (on the host `seed`), and each other host's own name.
"""
import concurrent.futures
import json
import os
import pathlib

SERVER_PORT, AGENT_PORT = 7470, 7471
STARTING_AT_ONCE = 4


class Members:
    def __init__(self, hosts, program, server_host="seed", labels=None):
        """LABELS: host -> the site that it says it is at; without, its office's name, or none where there is one office."""
        self.hosts, self.program, self.server_host = hosts, str(program), server_host
        self.labels, self.daemons = labels or {}, {}

    def host(self, member):
        return {"server": self.server_host, "publisher": "seed"}.get(member, member)

    def home(self, member):
        return os.path.join(self.hosts.dir(self.host(member)), "home-" + member)

    def office(self, member):
        return self.hosts.office(self.host(member))

    def label(self, host):
        several = len(self.hosts.topo["offices"]) > 1
        return self.labels.get(host, self.hosts.office(host) if several else None)

    def command(self, *args, member):
        return [self.program, *args, "--home", self.home(member)]

    def weft(self, member, *args, timeout=120):
        """A command on the member's host; what it prints as JSON."""
        out = self.hosts.run(self.host(member), self.command(*args, "--json", member=member), timeout)
        return json.loads(out) if out.strip() else {}

    # -- starting

    def start(self, member):
        """Its daemon; also after it was killed."""
        host, server = self.host(member), member == "server"
        at = f"{self.hosts.addr[host]}:{SERVER_PORT if server else AGENT_PORT}"
        name = ("--name", "server", *self._site(host)) if server else ()
        socket = pathlib.Path(self.home(member), "control.sock")
        socket.unlink(missing_ok=True)
        p = self.hosts.spawn(host, self.command("server" if server else "agent", "--listen", at, "--advertise", at, *name,
                                                member=member))

        def answers():
            if p.poll() is not None:
                raise RuntimeError(f"{member}: the daemon did not start; {host}.log says why")
            return socket.exists()
        self.hosts.wait_until(f"{member} to start", answers, 30)
        self.daemons[member] = p

    def _site(self, host):
        label = self.label(host)
        return ("--site", label) if label else ()

    def join(self, member, invite):
        host = self.host(member)
        self.weft(member, "join", invite, "--name", member, *self._site(host))
        self.start(member)

    def start_all(self, agents):
        """The server, and agents that are connected to it."""
        self.start("server")
        invite = self.weft("server", "invite", "--uses", str(len(agents)))["invite"]
        with concurrent.futures.ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            list(pool.map(lambda m: self.join(m, invite), agents))
        for m in agents:
            self.hosts.wait_until(f"{m} to be connected", lambda m=m: self.weft(m, "status").get("connected"), 30)

    # -- shares

    def publish(self, path, share, policy=None):
        """The newest snapshot of the share, whole at the server; with a policy the share is new, and everybody may read it."""
        row = self.weft("publisher", "publish", path, "--share", share, *(("--policy", policy) if policy else ()))
        if policy:
            self.weft("server", "grant", share, "--all", "read")
        return row

    def begin_get(self, member, share, dest):
        """`weft get`, running; what it prints in the end is for got()."""
        with open(self._got(member), "wb") as out:
            return self.hosts.spawn(self.host(member), self.command("get", share, dest, "--json", member=member), stdout=out)

    def got(self, member):
        """What its last `weft get` printed; None if it is not done."""
        path = pathlib.Path(self._got(member))
        text = path.read_text() if path.exists() else ""
        return json.loads(text) if text.startswith("{") else None

    def _got(self, member):
        return os.path.join(self.hosts.dir(self.host(member)), "get.json")

    def why(self, member, share):
        """`weft why`, as {} when there is nothing to tell."""
        try:
            return self.weft(member, "why", share)
        except RuntimeError as e:
            return {"error": str(e)}
