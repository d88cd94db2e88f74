"""Processes on the hosts of a network: started, counted and killed by host."""
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

SEED = "seed"  # the host that has the data
INFRA = "infra"  # processes of the lab itself, such as a tracker: neither counted nor killed with a host


class Accounts:
    """One control group for each host, of whichever version this system has; only CPU time is read."""

    def __init__(self, prefix, hosts, root=pathlib.Path("/sys/fs/cgroup")):
        self.v2 = (root / "cgroup.controllers").exists()
        self.dirs = {h: (root if self.v2 else root / "cpuacct") / (prefix + h) for h in hosts}
        for d in self.dirs.values():
            d.mkdir(exist_ok=True)

    def procs(self, host):
        """The file that a process writes its number to."""
        return str(self.dirs[host] / "cgroup.procs")

    def pids(self, host):
        return [int(p) for p in pathlib.Path(self.procs(host)).read_text().split()]

    def cpu(self, host):
        """CPU seconds of all that ran on the host."""
        if not self.v2:
            return int((self.dirs[host] / "cpuacct.usage").read_text()) / 1e9
        rows = dict(line.split() for line in (self.dirs[host] / "cpu.stat").read_text().splitlines())
        return int(rows["usage_usec"]) / 1e6

    def close(self):
        for d in self.dirs.values():
            for _ in range(40):
                try:
                    d.rmdir()
                    break
                except OSError:
                    time.sleep(0.05)


class Hosts:
    """What a driver sees: hosts, addresses, directories, and ways to start and end processes.  A context."""

    def __init__(self, net, work):
        self.net, self.topo, self.work = net, net.topo, str(work)
        self.addr, self.hosts = net.addr, list(net.addr)
        self.peers = [h for h in self.hosts if h != SEED]
        self.dead = set()
        self.accounts = Accounts(net.prefix, [*self.hosts, INFRA])
        for h in self.hosts:
            os.makedirs(self.dir(h))

    def __enter__(self):
        return self

    def __exit__(self, *why):
        for h in [*self.hosts, INFRA]:
            self.kill(h)
        self.accounts.close()

    def dir(self, host):
        return os.path.join(self.work, host)

    def office(self, host):
        return self.topo["hosts"][host]["office"]

    def ns(self, host):
        return self.net.ns(host)

    def spawn(self, host, argv, infra=False, **kw):
        """Start a process on the host; what it says goes to HOST.log unless told otherwise."""
        kw.setdefault("cwd", self.dir(host))
        kw.setdefault("stdin", subprocess.DEVNULL)
        env = dict(os.environ, HOME=self.dir(host), **kw.pop("env", {}))
        enter = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', self.accounts.procs(INFRA if infra else host)]
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(open(os.path.join(self.work, host + ".log"), "ab"))
            kw.setdefault("stdout", log)
            kw.setdefault("stderr", log)
            stack.enter_context(self.ns(host))
            return subprocess.Popen([*enter, *map(str, argv)], env=env, **kw)

    def run(self, host, argv, timeout=120):
        """Run a command on the host to its end; gives what it printed."""
        p = self.spawn(host, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            raise RuntimeError(f"{host}: {' '.join(map(str, argv))}: no end within {timeout} s") from None
        if p.returncode:
            raise RuntimeError(f"{host}: {' '.join(map(str, argv))}: {err.strip()}")
        return out

    def pids(self, host):
        return self.accounts.pids(host)

    def kill(self, host, sig=signal.SIGKILL):
        """End whatever runs on the host."""
        for _ in range(50):
            pids = self.pids(host)
            for p in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(p, sig)
            if not pids or sig != signal.SIGKILL:
                return
            time.sleep(0.02)

    def die(self, host):
        self.kill(host)
        self.dead.add(host)

    def wait_port(self, host, port, secs=20):
        def listens():
            with self.ns(host), socket.socket() as s:
                return not s.connect_ex(("127.0.0.1", port))
        self.wait_until(f"{host}: port {port}", listens, secs)

    def wait_until(self, what, test, secs=60):
        end = time.monotonic() + secs
        while not test():
            if time.monotonic() > end:
                raise RuntimeError("timed out waiting for " + what)
            time.sleep(0.02)


class Memory:
    """Peak memory, sampled, MiB: of all processes of a host together (whole, anonymous), and of its largest process."""

    def __init__(self):
        self.whole, self.anonymous, self.largest = {}, {}, {}

    def sample(self, hosts):
        for h in hosts.hosts:
            rows = [r for r in map(_memory, hosts.pids(h)) if r]
            self._most(self.whole, h, sum(r[0] for r in rows))
            self._most(self.anonymous, h, sum(r[1] for r in rows))
            self._most(self.largest, h, max((r[0] for r in rows), default=0))

    @staticmethod
    def _most(table, host, value):
        table[host] = max(value, table.get(host, 0))


def _memory(pid):
    """(peak resident, anonymous) MiB of a process; None when it has gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if "VmHWM" not in rows:
        return None
    return tuple(int(rows[k].split()[0]) / 1024 for k in ("VmHWM", "RssAnon"))


def machine_busy():
    """CPU seconds used so far by everything on this machine, interrupts with it."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, *_ = (int(x) for x in f.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def fresh_dir(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path
