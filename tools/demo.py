#!/usr/bin/env python3
"""make demo: one tree to eight machines, once with everything from the server, once with every machine helping.

usage: demo.py WEFT [DIR]      (default: a sample of this machine's files, and one big file)

One server, one publisher and eight agents, as real processes on loopback; each has a line of its own (its token bucket:
--up-limit, --down-limit).  The same tree is published and fetched twice, each time by fresh machines: with the policy
`central`, then with `hybrid`.  Every byte, mode and time of every copy is compared with the source.  Everything is in a
temporary directory that is removed in the end; every process started here is ended here.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

WEFT = os.path.abspath(sys.argv[1])
AGENTS = ("berlin", "lisbon", "osaka", "lima", "cairo", "perth", "oslo", "quito")
SAMPLE = 8 << 20  # bytes of small files, and of the big one
UP, DOWN = 50, 100  # Mbit/s
SECONDS = 10  # that a bigger tree of the caller's own may take over such a line; beyond that the lines get faster


def say(text=""):
    print(text, flush=True)


def human(n):
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024


# -- the tree --

def sample(src):
    """Some of this machine's headers and documents, with their places, modes and times; and a big file."""
    left = SAMPLE
    for top in ("/usr/include", "/usr/share/doc", "/usr/lib/python3"):
        for where, dirs, names in os.walk(top):
            dirs.sort()
            for name in sorted(names):
                path = os.path.join(where, name)
                if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > left:
                    continue
                to = src / path.lstrip("/")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)
                left -= os.path.getsize(path)
    (src / "one-big-file").write_bytes(os.urandom(SAMPLE))
    return src


def entries(root):
    """Path -> what must arrive, without the content."""
    out = {}
    for where, dirs, names in os.walk(os.fsencode(str(root))):
        dirs[:] = [d for d in dirs if not d.startswith(b".weft")]
        for name in dirs + names:
            full = os.path.join(where, name)
            st = os.lstat(full)
            path = os.path.relpath(full, os.fsencode(str(root)))
            if stat.S_ISLNK(st.st_mode):
                out[path] = ("link", os.readlink(full))
            elif stat.S_ISDIR(st.st_mode):
                out[path] = ("dir", st.st_mode & 0o777, st.st_mtime_ns)
            elif stat.S_ISREG(st.st_mode):
                out[path] = ("file", st.st_mode & 0o777, st.st_mtime_ns, st.st_size)
    return out


def same_bytes(a, b):
    with open(a, "rb") as x, open(b, "rb") as y:
        while True:
            p, q = x.read(1 << 20), y.read(1 << 20)
            if p != q:
                return False
            if not p:
                return True


def differences(src, dest, wanted):
    found = entries(dest)
    bad = [p for p in set(wanted) | set(found) if wanted.get(p) != found.get(p)]
    for p, what in wanted.items():
        if what[0] == "file" and p not in bad and not same_bytes(os.path.join(os.fsencode(str(src)), p),
                                                                 os.path.join(os.fsencode(str(dest)), p)):
            bad.append(p)
    return bad


# -- the machines --

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machines:
    """A server, a publisher and the agents, each in a home of its own; ended with the block."""

    def __init__(self, base, limits):
        self.base, self.limits, self.processes = base, limits, []
        base.mkdir()

    def __enter__(self):
        self.start("server", "server", "--advertise", "127.0.0.1", "--name", "server")
        names = ("publisher", *AGENTS)
        invite = json.loads(self.weft("server", "invite", "--uses", len(names), "--json"))["invite"]

        def agent(name):
            self.weft(name, "join", invite, "--name", name)
            self.start(name, "agent")

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(agent, names))
        return self

    def start(self, name, *args):
        log = open(self.base / f"{name}.log", "wb")
        p = subprocess.Popen([WEFT, *args, "--listen", f"127.0.0.1:{free_port()}", *self.limits, "--home", str(self.base / name)],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(p)
        for _ in range(600):
            if p.poll() is not None:
                sys.exit(f"{name} did not start:\n" + (self.base / f"{name}.log").read_text())
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(str(self.base / name / "control.sock"))
                    return
                except OSError:
                    time.sleep(0.05)
        sys.exit(f"{name} did not start within 30 s")

    def weft(self, name, *args):
        r = subprocess.run([WEFT, *map(str, args), "--home", str(self.base / name)], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        if r.returncode not in (0, 5):
            sys.exit(f"{name}: weft {' '.join(map(str, args))}: {r.stderr.strip()}")
        return r.stdout

    def __exit__(self, *why):
        for p in reversed(self.processes):
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in reversed(self.processes):
            try:
                p.wait(timeout=20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


# -- one run --

class Result:
    """What one policy made of it: name -> (seconds, bytes from server, publisher, others), and how many differ."""

    def __init__(self):
        self.rows, self.bad = {}, []

    def last(self):
        return max(row[0] for row in self.rows.values())

    def total(self, i):
        return sum(row[i] for row in self.rows.values())


def origin_of(sources):
    """Bytes from the server, from the publisher, from each other."""
    out = [0, 0, 0]
    for s in sources:
        out[{"server": 0, "publisher": 1}.get(s.get("name"), 2)] += s["bytes"]
    return out


def run(base, policy, src, wanted, limits):
    say(f"$ weft publish {src.name} --share tree --policy {policy}      # and on all eight: weft get tree")
    result = Result()
    with Machines(base / policy, limits) as m:
        # So that all may read it before the clock starts.
        (base / "note").write_text("soon\n")
        m.weft("publisher", "publish", base / "note", "--share", "tree", "--policy", policy)
        m.weft("server", "grant", "tree", "--all", "read")
        start = time.monotonic()
        m.weft("publisher", "publish", src, "--share", "tree", "--label", "demo", "--no-wait")

        def fetch(name):
            got = json.loads(m.weft(name, "get", "tree@demo", m.base / f"dest-{name}", "--json"))
            return name, (time.monotonic() - start, *origin_of(got.get("sources", [])))

        with concurrent.futures.ThreadPoolExecutor(len(AGENTS)) as pool:
            result.rows = dict(pool.map(fetch, AGENTS))
        for name in AGENTS:
            result.bad += [f"{name}: {p!r}" for p in differences(src, m.base / f"dest-{name}", wanted)]
    shutil.rmtree(base / policy, ignore_errors=True)
    say(f"  the last machine has all of it after {result.last():.1f} s\n")
    return result


def cell(n):
    return human(n) if n > 0 else "-"


def table(central, hybrid, size):
    head = f"{'time':>7}{'server':>11}{'publisher':>11}{'each other':>12}"
    say(f"{'':<10}|{'central: bytes came from':^41} |{'hybrid: bytes came from':^41}")
    say(f"{'machine':<10}|{head} |{head}")
    say(f"{'-' * 10}+{'-' * 42}+{'-' * 42}")
    for name in AGENTS:
        line = f"{name:<10}"
        for r in (central, hybrid):
            seconds, server, publisher, others = r.rows[name]
            line += f"|{seconds:>5.1f} s{cell(server):>11}{cell(publisher):>11}{cell(others):>12} "
        say(line.rstrip())
    line = f"{'copies':<10}"
    for r in (central, hybrid):
        line += f"|{'':>7}{r.total(1) / size:>11.2f}{r.total(2) / size:>11.2f}{r.total(3) / size:>12.2f} "
    say(line.rstrip())
    say()


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="weft-demo-"))
    try:
        if len(sys.argv) > 2:
            src = pathlib.Path(sys.argv[2]).resolve()
        else:
            (base / "tree").mkdir()
            src = sample(base / "tree")
        wanted = entries(src)
        files = sum(1 for w in wanted.values() if w[0] == "file")
        size = sum(w[3] for w in wanted.values() if w[0] == "file")
        faster = max(1, round(size * 8 / 1e6 / UP / SECONDS))
        up, down = UP * faster, DOWN * faster
        say(f"{files} files, {human(size)}, to eight machines. Server, publisher and machines each have a line of their own:")
        say(f"{up} Mbit/s up, {down} Mbit/s down.\n")
        limits = ("--up-limit", f"{up}Mbit", "--down-limit", f"{down}Mbit")
        central, hybrid = (run(base, policy, src, wanted, limits) for policy in ("central", "hybrid"))
        table(central, hybrid, size)
        bad = central.bad + hybrid.bad
        if bad:
            sys.exit(f"the demo FAILED: {len(bad)} entries are not what was published; first {bad[0]}")
        say(f"The same tree over the same lines: central {central.last():.1f} s, hybrid {hybrid.last():.1f} s: "
            f"{central.last() / hybrid.last():.1f} times as fast.")
        say(f"All {2 * len(AGENTS)} copies are identical to the source, {len(wanted)} entries each, compared byte by byte.")
    finally:
        shutil.rmtree(base, ignore_errors=True)


main()
