"""UFTP: multicast on one LAN at a fixed rate, 95 % of the slowest link on the way."""
from drivers import Driver, first_line

UNSHAPED_MBIT = 2000


class Uftp(Driver):
    """One transmission serves all, so the bounds of unicast do not bind it."""
    name, needs = "uftp", ("uftp", "uftpd")

    @classmethod
    def can(cls, topo):
        """There is no multicast routing here, and the sender is what it is all about."""
        return super().can(topo) and len(topo["offices"]) == 1 and not any("seed" in e.get("kill", ()) for e in topo["events"])

    def version(self):
        return "uftp " + first_line("dpkg-query", "-W", "-f", "${Version}", "uftp")

    def prepare(self):
        self.publish()
        for p in self.hosts.peers:
            self.hosts.spawn(p, ["uftpd", "-d", "-x", "1", "-D", self.hosts.dir(p), "-I", "eth0", "-B", "4000000"])

    def fetch(self, peer):
        if peer != self.hosts.peers[-1]:
            return
        h = self.hosts.topo["hosts"]
        rate = min(h["seed"]["up"] or UNSHAPED_MBIT, *(h[p]["down"] or UNSHAPED_MBIT for p in self.hosts.peers))
        self.sender = self.hosts.spawn("seed", ["uftp", "-R", int(rate * 950), "-I", "eth0", "-B", "4000000",
                                                self.hosts.dir("seed") + "/data.bin"])

    def done(self, peer):
        return self.sender.poll() is not None and self.full(peer)

    def failed(self, peer):
        return self.sender.poll() is not None and not self.full(peer)
