#!/usr/bin/env python3
"""One tree to many machines: how long, from where, at what cost.  Part of `make bench`; also by itself.

usage: bench/swarm.py WEFT [--agents N] [--mib N] [--rate RATE] [--runs N] [--only limits,line,spread,memory,revoke] [--gib N]

limits   how near to its up-limit, and to its down-limit, one node comes
line     how near N agents of one office together come to the limit of its line (not by default: --only line)
spread   a server, a publisher and N agents, each with one line of RATE up and down (its own token bucket: up-limit and
         down-limit), fetch MIB as soon as it is announced; beside the fluid bound, once hybrid and once central
memory   the highest memory of an agent that fetches GIB and passes it on to another
revoke   how long after `weft ungrant` each of 200 connected devices has the revocation

Everything runs on loopback, with real processes, encrypted, verified and on disk, in one temporary directory (on the file
system of $WEFT_BENCH_DIR, default /var/tmp).  Every process started here is ended here.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REVOKED = 200  # connected devices
ROUNDS = 20


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    """A home and the daemon in it."""

    def __init__(self, base, name):
        self.name, self.home, self.log = name, base / name, base / f"{name}.log"

    def start(self, *arguments):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([WEFT, *map(str, arguments), "--home", str(self.home)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"{self.name} did not start:\n{self.log.read_text()}")
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(str(self.home / "control.sock"))
                    return self
                except OSError:
                    time.sleep(0.05)
        sys.exit(f"{self.name} did not start within 30 s")

    def run(self, *arguments):
        r = subprocess.run([WEFT, *map(str, arguments), "--home", str(self.home)], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True)
        if r.returncode not in (0, 5):
            raise RuntimeError(f"{self.name}: weft {' '.join(map(str, arguments))}: {r.stderr.strip()}\n"
                               f"{self.log.read_text(errors='replace')[-2000:] if self.log.exists() else ''}")
        return r.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def cpu(self):
        f = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, what="VmHWM"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) / 1024
        return 0.0

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self):
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Net:
    """A server and others; a context that ends them and removes their directory."""

    def __init__(self, limits=(), of_server=()):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="weft-swarm-", dir=os.environ.get("WEFT_BENCH_DIR", "/var/tmp")))
        self.nodes = []
        self.limits = limits
        self.server = self.add("server", "server", "--listen", f"127.0.0.1:{free_port()}", "--advertise", "127.0.0.1", *of_server)

    def add(self, name, *arguments):
        node = Node(self.base, name)
        self.nodes.append(node.start(*arguments, *self.limits))
        return node

    def agent(self, name, *arguments):
        invite = self.server.json("invite")["invite"]
        Node(self.base, name).run("join", invite, "--name", name)
        return self.add(name, "agent", "--listen", f"127.0.0.1:{free_port()}", *arguments)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        for n in reversed(self.nodes):
            n.end()
        for n in reversed(self.nodes):
            n.wait()
        if not os.environ.get("WEFT_BENCH_KEEP"):
            shutil.rmtree(self.base, ignore_errors=True)



def write_file(path, size):
    """Bytes that do not compress; gives their hash."""
    rng, digest = random.Random(1), hashlib.sha256()
    with open(path, "wb") as f:
        for at in range(0, size, 1 << 20):
            block = rng.randbytes(min(1 << 20, size - at))
            digest.update(block)
            f.write(block)
    return digest.hexdigest()


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(f.read()).hexdigest()


# -- spread ---------------------------------------------------------------------------------------------------------------

def rate_bytes(text):
    units = {"kbit": 1e3 / 8, "Mbit": 1e6 / 8, "Gbit": 1e9 / 8, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    for unit, n in units.items():
        if text.endswith(unit):
            return float(text[:-len(unit)]) * n
    sys.exit(f"--rate {text}: as 50Mbit or 6.25MB")


def fluid_bound(size, receivers, up, down):
    """Seconds in which a fluid would be everywhere: the largest of the origin's uplink, a receiver's downlink, and all that is
    wanted over all uplinks (the origin and all receivers have the same line)."""
    return max(size / up, size / down, receivers * size / (up * (receivers + 1)))


def sources_of(rows):
    """Name -> bytes that the agents had from it."""
    out = {}
    for got in rows:
        for s in got.get("sources", []):
            out[s.get("name") or s["device"][:13]] = out.get(s.get("name") or s["device"][:13], 0) + s["bytes"]
    return out


def spread_once(policy, agents, size, rate):
    with Net(("--up-limit", rate, "--down-limit", rate)) as net:
        publisher = net.agent("publisher")
        readers = [net.agent(f"agent{i + 1}") for i in range(agents)]
        # The share is there, and everybody may read it, before the clock starts.
        (net.base / "first").mkdir()
        (net.base / "first" / "note").write_text("hello\n")
        publisher.json("publish", net.base / "first", "--share", "tree", "--policy", policy)
        net.server.run("grant", "tree", "--all", "read")
        src = net.base / "src"
        src.mkdir()
        digest = write_file(src / "file", size)
        publisher.json("publish", src, "--share", "tree", "--dry-run")
        sent = {n.name: n.json("status")["sent"] for n in net.nodes}
        cpu = {n.name: n.cpu() for n in net.nodes}
        publisher.json("publish", src, "--share", "tree", "--label", "big", "--no-wait")
        begun = time.monotonic()

        def get(reader):
            row = reader.json("get", "tree@big", net.base / f"dest-{reader.name}")
            return time.monotonic() - begun, row

        with concurrent.futures.ThreadPoolExecutor(agents) as pool:
            results = list(pool.map(get, readers))
        times = [t for t, _ in results]
        at_end = {n.name: n.json("status") for n in (publisher, net.server)}
        for reader in readers:
            assert sha256(net.base / f"dest-{reader.name}" / "file") == digest, f"{reader.name}: wrong bytes"
        return {
            "time": max(times), "median": statistics.median(times),
            "origin": (at_end["publisher"]["sent"] - sent["publisher"]) / size,
            "server": (at_end["server"]["sent"] - sent["server"]) / size,
            "server_has": at_end["server"]["received"] / size,
            "cpu": sum(n.cpu() - cpu[n.name] for n in net.nodes) / (agents * size / (1 << 30)),
            "cpu_of": {n.name: n.cpu() - cpu[n.name] for n in net.nodes},
            "memory": max(r.memory() for r in readers),
            "sources": sources_of(row for _, row in results),
        }


def spread(say, agents, mib, rate, runs, policies):
    size = mib << 20
    bound = fluid_bound(size, agents, rate_bytes(rate), rate_bytes(rate))
    say(f"\n## {mib} MiB to {agents} agents, {rate}/s up and down each\n")
    say(f"Server, publisher and every agent have a line of their own of {rate}/s each way (`up-limit`, `down-limit`; headers of TCP "
        f"and IP not counted). From the announcement to the last agent that has it whole, verified and flushed. Fluid bound: "
        f"{bound:.2f} s.\n")
    say("| policy | seconds (median of %d) | all runs | of the bound | copies sent by the publisher | by the server | CPU s per GiB "
        "delivered | largest agent |" % runs)
    say("|---|---|---|---|---|---|---|---|")
    medians = {}
    for policy in policies:
        got = sorted((spread_once(policy, agents, size, rate) for _ in range(runs)), key=lambda r: r["time"])
        r = got[len(got) // 2]
        medians[policy] = r["time"]
        say(f"| {policy} | {r['time']:.2f} | {', '.join('%.2f' % x['time'] for x in got)} | {r['time'] / bound:.3f} | "
            f"{r['origin']:.3f} | {r['server']:.3f} | {r['cpu']:.2f} | {r['memory']:.0f} MiB |")
        if os.environ.get("WEFT_BENCH_VERBOSE"):
            print(json.dumps(r, indent=1), file=sys.stderr)
    if len(medians) == 2:
        say(f"\nhybrid is {medians['central'] / medians['hybrid']:.1f} times as fast as central.")


# -- limits ---------------------------------------------------------------------------------------------------------------

def limits(say, rate):
    """From the server's first byte of a long transfer to its last: the middle of it, as the reader's kernel saw it."""
    size = 48 << 20
    say(f"\n## A limit of {rate}/s, kept by one node\n")
    say("| limited | bytes a second, from 1 to 5 s after the start | of the limit |")
    say("|---|---|---|")
    for what, of_server, of_reader in (("up-limit of the server", ("--up-limit", rate), ()),
                                       ("down-limit of the reader", (), ("--down-limit", rate))):
        with Net(of_server=of_server) as net:
            publisher, reader = net.agent("publisher"), net.agent("reader", *of_reader)
            src = net.base / "src"
            src.mkdir()
            write_file(src / "file", size)
            publisher.json("publish", src, "--share", "tree", "--policy", "central")
            net.server.run("grant", "tree", "--all", "read")
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                got = pool.submit(reader.json, "get", "tree", net.base / "dest")
                seen = []
                for after in (1, 4):
                    time.sleep(after)
                    seen.append((time.monotonic(), reader.json("status")["received"]))
                got.result()
            measured = (seen[1][1] - seen[0][1]) / (seen[1][0] - seen[0][0])
            say(f"| {what} | {measured:.0f} | {measured / rate_bytes(rate):.3f} |")


# -- line -----------------------------------------------------------------------------------------------------------------

HEADERS = 22 / 21  # what a line carries for each byte of frames, as the server reckons


def line(say, agents, rate):
    """All agents of one office fetch a central share at once; the limit of its line is theirs together."""
    limit, seconds, window = rate_bytes(rate), 25, 5
    with Net() as net:
        publisher = net.agent("publisher")
        invite = net.server.json("invite", "--site", "office", "--uses", str(agents))["invite"]
        office = []
        for i in range(agents):
            Node(net.base, f"a{i}").run("join", invite, "--name", f"a{i}")
            office.append(net.add(f"a{i}", "agent", "--listen", f"127.0.0.1:{free_port()}"))
        src = net.base / "src"
        src.mkdir()
        write_file(src / "file", int(limit * 2 * seconds / agents))
        publisher.json("publish", src, "--share", "tree", "--policy", "central")
        net.server.run("grant", "tree", "--all", "read")
        net.server.run("limit", "--site", "office", "--down", rate)
        time.sleep(2)
        with concurrent.futures.ThreadPoolExecutor(2 * agents) as pool:
            gets = [pool.submit(n.run, "get", "tree", net.base / f"dest-{n.name}") for n in office]
            seen, begun = [], time.monotonic()
            while time.monotonic() < begun + seconds:
                received = list(pool.map(lambda n: n.json("status")["received"], office))
                seen.append((time.monotonic(), sum(received) * HEADERS))
                time.sleep(0.5)
            for g in gets:
                g.cancel()
            each = sorted(received)
            for n in office:
                n.end()  # which ends what its gets wait for
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(seen) for b in seen[i + 1:] if b[0] - a[0] >= window]
    settled = [s for s in seen if s[0] >= begun + window]
    mean = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0])
    say(f"\n## The line of an office of {agents}, limited to {rate}/s, all fetching at once\n")
    say("| most in any five seconds, of the line | used of it, from 5 s on | least of an agent, of the mean | most |")
    say("|---|---|---|---|")
    mid = sum(each) / len(each)
    say(f"| {max(rates) / limit:.3f} | {mean / limit:.3f} | {each[0] / mid:.2f} | {each[-1] / mid:.2f} |")


# -- memory ---------------------------------------------------------------------------------------------------------------

def patterned(path, size):
    """Text that compresses and whose chunks all differ: no holes, and nothing is there twice."""
    with open(path, "wb") as f:
        for at in range(0, size, 1 << 20):
            words = b"".join(b"%016x the quick brown fox jumps over\n" % n for n in range(at, at + (1 << 20), 64))
            f.write(words.ljust(1 << 20, b".")[:min(1 << 20, size - at)])


def memory(say, gib):
    size = int(gib * (1 << 30))
    with Net() as net:
        publisher, first, second = (net.agent(n) for n in ("publisher", "first", "second"))
        src = net.base / "src"
        src.mkdir()
        patterned(src / "file", size)
        begun = time.monotonic()
        publisher.json("publish", src, "--share", "tree", "--policy", "hybrid")
        published = time.monotonic() - begun
        net.server.run("grant", "tree", "--all", "read")
        publisher.end()
        publisher.wait()
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda n: n.json("get", "tree", net.base / f"dest-{n.name}"), (first, second)))
        took = time.monotonic() - begun
        if os.environ.get("WEFT_BENCH_VERBOSE"):
            print({n.name: n.memory() for n in net.nodes[2:] + [net.server]}, took, file=sys.stderr)
        for n in (first, second):
            subprocess.run(["cmp", src / "file", net.base / f"dest-{n.name}" / "file"], check=True)
        say(f"\n## Memory in a job of {gib:g} GiB\n")
        say(f"One file of {gib:g} GiB, hybrid, no limits, the publisher gone; two agents fetch it at the same time from the server and "
            f"from each other. Highest resident memory (VmHWM): agents {first.memory():.0f} and {second.memory():.0f} MiB, server "
            f"{net.server.memory():.0f} MiB. Published in {published:.0f} s, both have it after {took:.0f} s. "
            f"From whom: {', '.join('%s %.2f GiB' % (k, v / (1 << 30)) for k, v in sorted(sources_of(rows).items()))}.")


# -- revoke ---------------------------------------------------------------------------------------------------------------

def revoke(say):
    with Net() as net:
        owner, other = net.agent("owner"), net.agent("other")
        (net.base / "src").mkdir()
        (net.base / "src" / "note").write_text("hello\n")
        owner.json("publish", net.base / "src", "--share", "tree")
        invite = net.server.json("invite", "--uses", REVOKED)["invite"]
        program = pathlib.Path(WEFT).parents[2] / "bench" / "bench_agents"
        crowd = subprocess.Popen([program, invite, str(REVOKED), "watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            if not crowd.stdout.readline():
                sys.exit("bench_agents: not all were connected")
            begun_ms, returned_ms = [], []
            for _ in range(ROUNDS):
                net.server.run("grant", "tree", "other", "read")
                begun = time.monotonic_ns()
                net.server.run("ungrant", "tree", "other")
                returned = time.monotonic_ns()
                for _ in range(REVOKED):
                    at = int(crowd.stdout.readline())
                    begun_ms.append((at - begun) / 1e6)
                    returned_ms.append(max(0, at - returned) / 1e6)
        finally:
            crowd.communicate(timeout=60)

    def p(values, q):
        return sorted(values)[int(len(values) * q)]

    say(f"\n## Revocation, {REVOKED} connected devices\n")
    say(f"{ROUNDS} times `weft ungrant`, {len(begun_ms)} arrivals. From the start of the command until a device has the revocation: median "
        f"{p(begun_ms, 0.5):.1f} ms, p99 {p(begun_ms, 0.99):.1f} ms, worst {max(begun_ms):.1f} ms. From the command's return: p99 "
        f"{p(returned_ms, 0.99):.1f} ms.")


def main():
    global WEFT
    parser = argparse.ArgumentParser()
    parser.add_argument("weft")
    parser.add_argument("--agents", type=int, default=12)
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--rate", default="50Mbit")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--policies", default="hybrid,central")
    parser.add_argument("--gib", type=float, default=2, help="of the memory benchmark; the issue's figure is 10")
    parser.add_argument("--only", default="limits,spread,memory,revoke")
    parser.add_argument("--out", help="append to this file too")
    args = parser.parse_args()
    WEFT = os.path.abspath(args.weft)

    def say(line=""):
        print(line, flush=True)
        if args.out:
            with open(args.out, "a") as f:
                f.write(line + "\n")

    for name in args.only.split(","):
        if name == "limits":
            limits(say, args.rate)
        elif name == "line":
            line(say, args.agents, args.rate)
        elif name == "spread":
            spread(say, args.agents, args.mib, args.rate, args.runs, args.policies.split(","))
        elif name == "memory":
            memory(say, args.gib)
        else:
            revoke(say)


if __name__ == "__main__":
    main()
