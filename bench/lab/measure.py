"""One distribution: everything is made ready, the clock starts, the copies are compared, the figures are gathered."""
import contextlib
import datetime
import glob
import os
import shutil
import statistics
import time

import data
import drivers
import topologies
from data import TMP
from hosts import INFRA, SEED, Hosts, Memory, fresh_dir, machine_busy
from net import Net

POLL_S = 0.02
STALL_S, STALL_FRACTION = 25, 0.02  # all peers together receive less than this part of it in this long: no finish


class Run:
    """One tool on one topology."""

    def __init__(self, driver, topo, cc="cubic", limit=None):
        self.topo, self.cc, self.kind = topo, cc, driver
        self.data = data.of(topo)
        self.size = self.data.size
        self.bound = topologies.bounds(topo)
        self.limit = limit or topo.get("limit_s") or min(480, 60 + 1.3 * self.bound["cs"])
        self.memory, self.finish, self.failed, self.log = Memory(), {}, set(), []
        self.course = []  # how the bytes went, second by second

    def result(self):
        """Measure it; the record."""
        work = fresh_dir(TMP / str(os.getpid()))
        try:
            with Net(self.topo, self.cc) as self.net, Hosts(self.net, work) as self.hosts:
                self.driver = self.kind(self.hosts, self.data)
                whole = False
                try:
                    self.driver.prepare()
                    self._distribute()
                    self.extra = self.driver.figures(self.size)
                    for h in self.hosts.hosts:
                        self.hosts.kill(h)
                    record = self._record(self._verified())
                    whole = record["t_all"] is not None
                    return record
                finally:
                    if not whole:
                        self._keep_logs(work)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    # -- while the clock runs

    def _distribute(self):
        hosts = self.hosts
        self.memory.sample(hosts)
        self.before = self._counters()
        own, self.start = time.process_time(), time.monotonic()
        for p in hosts.peers:
            self.driver.fetch(p)
        self.started = time.monotonic() - self.start
        self._watch()
        self.wall, self.own = time.monotonic() - self.start, time.process_time() - own
        self.memory.sample(hosts)
        self.after = self._counters()

    def _counters(self):
        net, hosts = self.net, self.hosts
        return {"cpu": {h: hosts.accounts.cpu(h) for h in [*hosts.hosts, INFRA]}, "net": net.snapshot(),
                "segments": {h: net.segments(h) for h in hosts.hosts}, "busy": machine_busy(),
                "tcp": net.tcp_sent(SEED)}

    def _watch(self):
        """Until all that live have it, or no more of them will."""
        pending, events = set(self.hosts.peers), list(self.topo["events"])
        moved_at = sampled = looked = moved = 0.0
        while pending:
            now = time.monotonic() - self.start
            self._look(pending)
            for e in [e for e in events if self._due(e, now)]:
                events.remove(e)
                self._happen(e, now)
            pending -= self.finish.keys() | self.failed | self.hosts.dead
            if now - sampled > 0.3:
                self.memory.sample(self.hosts)
                sampled = now
            if now - looked > 1:
                got, looked = self._received(), now
                self.course.append([round(now, 2), self._so_far()])
                if got - moved > STALL_FRACTION * self.size:
                    moved, moved_at = got, now
            if now > self.limit or now - moved_at > STALL_S:
                return
            time.sleep(POLL_S)

    def _look(self, pending):
        for p in sorted(pending):
            if self.driver.done(p):
                self.finish[p] = round(time.monotonic() - self.start, 3)
            elif self.driver.failed(p):
                self.failed.add(p)

    def _received(self):
        return sum(self.net.bytes(p, "eth0")[0] for p in self.hosts.peers)

    def _so_far(self):
        """Bytes that each line (of an office; of hosts where there is one LAN) has received and sent since the clock started."""
        now, before = self.net.snapshot(), self.before["net"]
        lines = [k for k in now if k.startswith("wan:")] or list(now)
        return {k.removeprefix("wan:"): [now[k][way] - before[k][way] for way in (0, 1)] for k in lines}

    def _due(self, event, now):
        sent = (self.net.tcp_sent(SEED) - self.before["tcp"]) / self.size if "seed_sent" in event else 0
        return now >= event.get("at", 0) and sent >= event.get("seed_sent", 0)

    def _happen(self, event, now):
        self.log.append([round(now, 2), event])
        for h in event.get("kill", ()):
            self.driver.kill(h)
        for h, rates in event.get("rate", {}).items():
            self.net.set_rate(h, **rates)

    # -- afterwards

    def _verified(self):
        """The peers that live and whose copy is right."""
        return [p for p in self.finish if p not in self.hosts.dead and self.data.right(self.driver.output(p))]

    @staticmethod
    def _keep_logs(work):
        """What the tool said, for who wants to know why it did not finish."""
        last = fresh_dir(TMP / "last-failure")
        for f in glob.glob(f"{work}/*.log"):
            with contextlib.suppress(OSError):
                shutil.copy(f, last)

    def _between(self, what, host=None):
        a, b = self.before[what], self.after[what]
        return b - a if host is None else b[host] - a[host]

    def _moved(self, host, way):
        """Bytes that the host's interface received (0) or sent (1)."""
        return self.after["net"][host][way] - self.before["net"][host][way]

    def _lines(self):
        """office -> copies that its line carried, headers and all, as its interface counted."""
        def through(key, way):
            return round((self.after["net"][key][way] - self.before["net"][key][way]) / self.size, 3)
        return {key[4:]: {"in": through(key, 0), "out": through(key, 1)} for key in self.after["net"] if key.startswith("wan:")}

    def _segments(self):
        """(sent, retransmitted) by all hosts together."""
        return [sum(self.after["segments"][h][i] - self.before["segments"][h][i] for h in self.hosts.hosts) for i in (0, 1)]

    def _cpu(self):
        cpu = {h: self._between("cpu", h) for h in [*self.hosts.hosts, INFRA]}
        infra, cores = cpu.pop(INFRA), os.cpu_count()
        total = sum(cpu.values())
        others = self._between("busy") - total - infra - self.own
        return {"cpu_s": round(total, 2), "cpu_seed_s": round(cpu[SEED], 2),
                "cpu_tool": round(total / self.wall / cores, 3), "cpu_others": round(others / self.wall / cores, 3)}

    def _memory(self):
        peers = self.hosts.peers
        return {"rss_seed_mib": round(self.memory.whole[SEED], 1),
                "rss_peer_mib": round(max(self.memory.whole[p] for p in peers), 1),
                "rss_process_mib": round(max(self.memory.largest[p] for p in peers), 1),
                "anon_seed_mib": round(self.memory.anonymous[SEED], 1),
                "anon_peer_mib": round(max(self.memory.anonymous[p] for p in peers), 1)}

    def _record(self, good):
        alive = [p for p in self.hosts.peers if p not in self.hosts.dead]
        whole = len(good) == len(alive)
        times = [self.finish[p] for p in good]
        received, sent_by_peers = (sum(self._moved(p, way) for p in self.hosts.peers) for way in (0, 1))
        last = max(times) if whole else None
        sent, again = self._segments()
        cpu = self._cpu()
        return {
            "when": datetime.datetime.now().isoformat(timespec="seconds"), "tool": self.kind.name,
            "version": self.driver.version(), "topo": self.topo["name"], "cc": self.cc, "size": self.size,
            "peers": len(self.hosts.peers), "survivors": len(alive), "verified": len(good),
            "t_all": last, "bound": self.bound,
            "ratio": round(last / self.bound["all"], 3) if last and self.bound else None,
            "t_mean": round(statistics.mean(times), 3) if times else None, "t_first": min(times, default=None),
            "start_s": round(self.started, 3),
            "mbit_s": round((self.size if last else received / len(alive)) * 8e-6 / (last or self.wall), 1),
            "seed_up": round(self._moved(SEED, 1) / self.size, 3), "seed_tcp": round(self._between("tcp") / self.size, 3),
            "peers_up": round(sent_by_peers / self.size, 3), "received": received, "sent_by_peers": sent_by_peers,
            "edited": self.data.edited, "line": self._lines(),
            "segments": sent, "retransmitted": again, **cpu,
            "cpu_per_gib": round(cpu["cpu_s"] / (len(alive) * self.size / 2**30), 2), **self._memory(),
            "finish": self.finish, "failed": sorted(self.failed), "events": self.log, "course": self.course,
            **self.extra,
        }


def measure(tool, topo, cc="cubic", limit=None):
    return Run(drivers.ALL[tool], topo, cc, limit).result()
