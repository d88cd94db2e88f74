"""Hosts as network namespaces: veth pairs, bridges, routing, shaping, delay and byte counters.

Every host is a namespace with one veth `eth0`; an office is a namespace `r-OFFICE` with a bridge that is also its router;
offices meet in a namespace `core`.  A host's uplink is shaped on its own egress, its downlink on the other end of the veth, an
office's line on both ends of its link to the core.
"""
import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CLONE_NEWNET = 0x40000000
HEADERS = 66  # Ethernet, IPv4 and TCP with timestamps: in front of each packet that an interface counts

_libc = ctypes.CDLL(None, use_errno=True)


def sh(*argv, text=None):
    """Run a command; an error carries what it said."""
    r = subprocess.run(argv, input=text, text=True, capture_output=True)
    if r.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {r.stderr.strip()}\n{text or ''}")
    return r.stdout


def gso(rate):
    """Largest super-packet: about 2 ms of line time, so that flows interleave as on a wire.

    With packets of 64 KiB one of four flows of a 50 Mbit/s line has 42 of it and the others 2 each.
    """
    return min(65536, max(4500, int(rate * 1e6 / 8 * 0.002)))


def tbf(rate, packet=0):
    """Arguments of a token bucket: the burst holds 4 ms and two super-packets, the queue about 100 ms."""
    burst = max(2 * max(packet, gso(rate)), int(rate * 1e6 / 8 * 0.004))
    limit = max(128_000, int(rate * 1e6 / 8 * 0.1))
    return f"rate {rate}mbit burst {burst} limit {limit + burst}".split()


def why_not():
    """Why there can be no namespaces here; None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return f"`{tool}` (Debian: iproute2) is not installed"
    name = f"lab{os.getpid()}-probe"
    try:
        sh("ip", "netns", "add", name)
        try:
            sh("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", *tbf(100))
        finally:
            sh("ip", "netns", "del", name)
    except RuntimeError as e:
        return f"no shaped namespaces: {str(e).strip()}"
    return None


class Net:
    """The namespaces of a topology; a context that takes them down.  Congestion control `cc` is their default."""

    def __init__(self, topo, cc="cubic"):
        self.topo, self.cc = topo, cc
        self.prefix = f"lab{os.getpid()}-"
        self.nodes, self.addr = [], {}
        self._fd, self._relays, self._temporary = {}, [], None
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def __enter__(self):
        _allow(self.cc)
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *why):
        for p in self._relays:
            p.kill()
            p.wait()
        for fd in (*self._fd.values(), self._home):
            os.close(fd)
        for n in self.nodes:
            subprocess.run(["ip", "netns", "del", self.prefix + n], capture_output=True)
        if self._temporary:
            self._temporary.cleanup()

    @contextlib.contextmanager
    def ns(self, node):
        """Run the calling thread (the sockets and child processes that it makes) inside the node."""
        self._enter(self._fd[node])
        try:
            yield
        finally:
            self._enter(self._home)

    @staticmethod
    def _enter(fd):
        if _libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    # -- building

    def _build(self):
        if len(self.topo["offices"]) > 1:
            self._node("core")
        for number, office in enumerate(self.topo["offices"], 1):
            self._office(number, office)
            mine = [h for h, spec in self.topo["hosts"].items() if spec["office"] == office]
            for at, host in enumerate(mine, 10):
                self._host(host, office, number, at)

    def _node(self, name):
        sh("ip", "netns", "add", self.prefix + name)
        self.nodes.append(name)
        self._fd[name] = os.open(f"/run/netns/{self.prefix}{name}", os.O_RDONLY)
        settings = {
            "ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1,
            "ipv4/tcp_congestion_control": self.cc, "ipv4/tcp_no_metrics_save": 1,
            "ipv4/tcp_tso_rtt_log": 0,  # else the first flow sends far larger bursts
            "ipv4/ip_forward": int(name == "core" or name.startswith("r-")),
        }
        with self.ns(name):
            for key, value in settings.items():
                with contextlib.suppress(FileNotFoundError):  # an older kernel
                    pathlib.Path("/proc/sys/net", key).write_text(str(value))
            sh("ip", "link", "set", "lo", "up")

    def _link(self, a, ia, b, ib, ab, ba, delay=0, loss=0):
        """Join a:ia and b:ib; a to b is shaped to `ab` on ia's egress, b to a to `ba` on ib's egress."""
        if delay or loss:
            self._delay_wire(a, ia, b, ib, delay, loss)
        else:
            sh("ip", "link", "add", ia, "netns", self.prefix + a, "type", "veth", "peer", "name", ib, "netns", self.prefix + b)
        for node, device, rate in ((a, ia, ab), (b, ib, ba)):
            with self.ns(node):
                sh("ip", "link", "set", device, "up")
                if rate:
                    sh("ip", "link", "set", device, "gso_max_size", str(gso(rate)))
                    sh("tc", "qdisc", "add", "dev", device, "root", "tbf", *tbf(rate))

    def _delay_wire(self, a, ia, b, ib, delay, loss):
        p = subprocess.Popen([self._netdelay(), f"/run/netns/{self.prefix}{a}", ia, f"/run/netns/{self.prefix}{b}", ib,
                              str(delay), str(loss)], stdout=subprocess.PIPE)
        self._relays.append(p)
        if p.stdout.readline() != b"ready\n":
            raise RuntimeError("netdelay did not start (/dev/net/tun?)")

    def _netdelay(self):
        """The delay wire, built for this run."""
        if not self._temporary:
            self._temporary = tempfile.TemporaryDirectory(prefix="weft-lab-")
            sh("cc", "-O2", "-Wall", "-Wextra", "-o", self._temporary.name + "/netdelay", str(HERE / "netdelay.c"))
        return self._temporary.name + "/netdelay"

    def _office(self, number, office):
        spec, router = self.topo["offices"][office], "r-" + office
        self._node(router)
        with self.ns(router):
            sh("ip", "-batch", "-", text=f"link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n"
                                         f"addr add 10.1.{number}.1/24 dev br0\nlink set br0 up\n")
        if len(self.topo["offices"]) == 1:
            return
        self._link(router, "wan", "core", "w-" + office, spec.get("wan_up"), spec.get("wan_down"),
                   spec.get("delay_ms", 0), spec.get("loss", 0))
        with self.ns(router):
            sh("ip", "-batch", "-", text=f"addr add 10.255.{number}.2/30 dev wan\nroute add default via 10.255.{number}.1\n")
        with self.ns("core"):
            sh("ip", "-batch", "-", text=f"addr add 10.255.{number}.1/30 dev w-{office}\n"
                                         f"route add 10.1.{number}.0/24 via 10.255.{number}.2\n")

    def _host(self, host, office, number, at):
        spec = self.topo["hosts"][host]
        self._node(host)
        self._link(host, "eth0", "r-" + office, "h-" + host, spec.get("up"), spec.get("down"), spec.get("delay_ms", 0),
                   spec.get("loss", 0))
        self.addr[host] = f"10.1.{number}.{at}"
        with self.ns(host):
            sh("ip", "-batch", "-", text=f"addr add {self.addr[host]}/24 brd + dev eth0\n"
                                         f"route add default via 10.1.{number}.1\n")
        with self.ns("r-" + office):
            sh("ip", "link", "set", "h-" + host, "master", "br0")

    # -- changing

    def set_rate(self, host, up=None, down=None):
        """Another rate for a host's line, while it runs."""
        spec = self.topo["hosts"][host]
        packet = gso(max(s.get(k) or 1e4 for s in self.topo["hosts"].values() for k in ("up", "down")))
        for node, device, rate in ((host, "eth0", up), ("r-" + spec["office"], "h-" + host, down)):
            if rate:
                with self.ns(node):
                    sh("tc", "qdisc", "replace", "dev", device, "root", "tbf", *tbf(rate, packet))

    def cut(self, office):
        """The office's line falls silent both ways, as one that broke further away: links stay up, nobody is told."""
        self._silence(office, "add")

    def mend(self, office):
        self._silence(office, "del")

    def _silence(self, office, what):
        number = list(self.topo["offices"]).index(office) + 1
        with self.ns("core"):  # narrower than the office's own route
            for half in (0, 128):
                sh("ip", "route", what, "blackhole", f"10.1.{number}.{half}/25")
        with self.ns("r-" + office):  # wider than the bridge's, narrower than the default
            sh("ip", "route", what, "blackhole", "10.0.0.0/8")

    # -- counters

    def counters(self, node, device):
        """(bytes received, bytes sent, packets received, packets sent) of an interface since it was made."""
        with self.ns(node), open("/proc/thread-self/net/dev") as f:
            for line in f:
                name, _, rest = line.partition(":")
                if name.strip() == device:
                    c = [int(x) for x in rest.split()]
                    return c[0], c[8], c[1], c[9]
        raise RuntimeError(f"{node} has no {device}")

    def bytes(self, node, device):
        return self.counters(node, device)[:2]

    def tcp_sent(self, host):
        """What a host sent inside of TCP.  A super-packet counts as one packet with one header, so this is exact."""
        _, sent, _, packets = self.counters(host, "eth0")
        return sent - HEADERS * packets

    def snapshot(self):
        """host or "wan:OFFICE" -> (received, sent)."""
        out = {h: self.bytes(h, "eth0") for h in self.addr}
        if len(self.topo["offices"]) > 1:
            out.update({"wan:" + o: self.bytes("r-" + o, "wan") for o in self.topo["offices"]})
        return out

    def segments(self, host):
        """(segments sent, retransmitted) by the host's kernel."""
        with self.ns(host):
            text = pathlib.Path("/proc/thread-self/net/snmp").read_text()
        names, values = (line.split() for line in text.splitlines() if line.startswith("Tcp:"))
        tcp = dict(zip(names, values))
        return int(tcp["OutSegs"]), int(tcp["RetransSegs"])


def _allow(cc):
    """Outside the first namespace only an allowed congestion control may be the default."""
    path = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
    have = path.read_text().split()
    if cc not in have:
        path.write_text(" ".join([*have, cc]))
