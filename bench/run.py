#!/usr/bin/env python3
"""make bench: Weft beside its peers, in one run, as ratios.

usage: bench/run.py WEFT [--out FILE] [--only NAME[,NAME]] [--scale X]

Everything runs on loopback and in one temporary directory (on the file system of $WEFT_BENCH_DIR, default /var/tmp). Each
figure is the median of several runs that take turns, because the machine is shared. What would make a number wrong is
said beside it. A peer that is not installed is skipped by name.
"""
import argparse
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

parser = argparse.ArgumentParser()
parser.add_argument("weft")
parser.add_argument("--out")
parser.add_argument("--only", default="")
parser.add_argument("--scale", type=float, default=1.0, help="of the sizes: 0.1 for a quick look")
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
WEFT = os.path.abspath(args.weft)
PROGRAMS = pathlib.Path(WEFT).parents[2] / "bench"
BASE = pathlib.Path(tempfile.mkdtemp(prefix="weft-bench-", dir=os.environ.get("WEFT_BENCH_DIR", "/var/tmp")))
processes = []
rows = []


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*cmd, **kw):
    return subprocess.run([str(c) for c in cmd], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, **kw)


def weft(home, *cmd):
    r = subprocess.run([WEFT, *map(str, cmd), "--home", str(home)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if r.returncode not in (0, 5):
        raise SystemExit(f"weft {cmd}: {r.stderr}")
    return r.stdout


def spawn(*cmd, log):
    p = subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=open(log, "ab"), stderr=subprocess.STDOUT)
    processes.append(p)
    return p


def daemon(home, *cmd):
    p = spawn(WEFT, *cmd, "--home", home, log=str(home) + ".log")
    for _ in range(400):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(home / "control.sock"))
                return p
            except OSError:
                if p.poll() is not None:
                    raise SystemExit(pathlib.Path(str(home) + ".log").read_text())
                time.sleep(0.05)
    raise SystemExit("a daemon did not start")


def end(p):
    if p.poll() is None:
        p.send_signal(signal.SIGTERM)
        try:
            p.wait(timeout=20)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def timed(f):
    start = time.monotonic()
    f()
    return time.monotonic() - start


def drop_dirty():
    os.sync()


def take_turns(contenders, runs):
    """Name -> seconds of each run; the runs of all take turns."""
    out = {name: [] for name, _ in contenders}
    for _ in range(runs):
        for name, f in contenders:
            drop_dirty()
            out[name].append(timed(f))
    return out


def note(line=""):
    print(line, flush=True)
    rows.append(line)


def gib(n):
    return n / (1 << 30)


class Cluster:
    """One server, one publisher, one reader."""

    def __init__(self, name):
        self.base = BASE / name
        self.base.mkdir()
        self.port = free_port()
        self.server = self.base / "server"
        self.procs = {"server": daemon(self.server, "server", "--listen", f"127.0.0.1:{self.port}", "--advertise", "127.0.0.1")}
        for who in ("publisher", "reader"):
            invite = json.loads(weft(self.server, "invite", "--json"))["invite"]
            weft(self.base / who, "join", invite, "--name", who)
            self.procs[who] = daemon(self.base / who, "agent")
        self.publisher, self.reader = self.base / "publisher", self.base / "reader"

    def memory(self, who, what="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.procs[who].pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) / 1024
        return 0.0

    def cpu(self, who):
        f = pathlib.Path(f"/proc/{self.procs[who].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        for p in reversed(list(self.procs.values())):
            end(p)
        shutil.rmtree(self.base, ignore_errors=True)


def big_file(path, size):
    with open(path, "wb") as f:
        left = size
        while left > 0:
            n = min(left, 16 << 20)
            f.write(os.urandom(n))
            left -= n


def small_files(root, n, size):
    rng = random.Random(7)
    for i in range(n):
        if i % 1000 == 0:
            d = root / f"d{i // 1000:03d}"
            d.mkdir(parents=True)
        (d / f"f{i:06d}").write_bytes(rng.randbytes(size))


# -- peers --------------------------------------------------------------------------------------------------------------

def nginx(root):
    """nginx with TLS 1.3 on loopback; the certificate is made here."""
    if not shutil.which("nginx"):
        note("nginx: not installed, skipped")
        return None
    d = BASE / "nginx"
    d.mkdir()
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=127.0.0.1", "-keyout", d / "key.pem", "-out", d / "cert.pem")
    port = free_port()
    (d / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {d}/pid; error_log {d}/error.log; user root;
events {{ worker_connections 64; }}
http {{ access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {d}/a; proxy_temp_path {d}/b; fastcgi_temp_path {d}/c; uwsgi_temp_path {d}/d; scgi_temp_path {d}/e;
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem;
    ssl_protocols TLSv1.3; root {root}; }} }}
""")
    p = spawn("nginx", "-c", d / "nginx.conf", "-p", d, log=d / "log")
    time.sleep(1)
    return p, port, d / "cert.pem"


def rsyncd(root):
    if not shutil.which("rsync"):
        note("rsync: not installed, skipped")
        return None
    d = BASE / f"rsyncd-{root.name}"
    d.mkdir()
    port = free_port()
    (d / "conf").write_text(f"use chroot = no\nuid = root\ngid = root\n[src]\npath = {root}\nread only = yes\n")
    p = spawn("rsync", "--daemon", "--no-detach", f"--config={d}/conf", f"--port={port}", "--address=127.0.0.1", log=d / "log")
    time.sleep(1)
    return p, port


# -- benchmarks ---------------------------------------------------------------------------------------------------------

def one_to_one():
    size = int((2 << 30) * args.scale)
    src = BASE / "one"
    src.mkdir()
    big_file(src / "file", size)
    c = Cluster("c1")
    published = timed(lambda: weft(c.publisher, "publish", src, "--share", "one"))
    weft(c.server, "grant", "one", "--all", "read")
    web, sync = nginx(src), rsyncd(src)
    dest = BASE / "dest"

    cpu = {}

    def get():
        shutil.rmtree(dest, ignore_errors=True)
        # The reader forgets what it has: a fetch into a new directory must not find the last one's chunks.
        before = {w: c.cpu(w) for w in ("server", "reader")}
        start = time.monotonic()
        got = json.loads(weft(c.reader, "get", "one", dest, "--json"))
        get.wall.append(time.monotonic() - start)
        for w in before:
            cpu.setdefault(w, []).append(c.cpu(w) - before[w])
        assert got["bytes_fetched"] >= size, got

    get.wall = []

    def curl(digest):
        out = subprocess.run(["sh", "-c", f"curl -s --cacert {web[2]} https://127.0.0.1:{web[1]}/file | {digest}"],
                             capture_output=True, text=True, check=True).stdout
        assert len(out) > 64

    def rsync():
        shutil.rmtree(dest, ignore_errors=True)
        run("rsync", "-a", "--whole-file", f"rsync://127.0.0.1:{sync[1]}/src/", dest)
        os.sync()

    contenders = [("weft get (TLS, verified, durable)", get)]
    if web:
        contenders.append(("nginx TLS to curl to sha256sum (not stored)", lambda: curl("sha256sum")))
        contenders.append(("nginx TLS to curl to openssl sha256 (not stored)", lambda: curl("openssl dgst -sha256")))
    if sync:
        contenders.append(("rsync daemon (in clear, unverified), sync", rsync))
    times = take_turns(contenders, args.runs)
    base = statistics.median(times[contenders[0][0]])
    note(f"\n## One to one on loopback, {gib(size):.2f} GiB\n")
    note("| | seconds (median) | GB/s | Weft is faster by |")
    note("|---|---|---|---|")
    for name, _ in contenders:
        t = statistics.median(times[name])
        note(f"| {name} | {t:.2f} | {size / t / 1e9:.2f} | {t / base:.2f} |")
    note(f"\nCPU seconds of the median Weft run: server {statistics.median(cpu['server']):.2f}, "
         f"reader {statistics.median(cpu['reader']):.2f}; per byte {statistics.median(cpu['server']) / size * 1e9:.2f} + "
         f"{statistics.median(cpu['reader']) / size * 1e9:.2f} ns. Publish, until the server holds it all: {published:.2f} s.")
    note(f"Peak memory (VmHWM): server {c.memory('server', 'VmHWM'):.0f} MiB, publisher {c.memory('publisher', 'VmHWM'):.0f} MiB, "
         f"reader {c.memory('reader', 'VmHWM'):.0f} MiB.")
    c.close()
    for p in (web, sync):
        if p:
            end(p[0])
    shutil.rmtree(src)
    shutil.rmtree(dest, ignore_errors=True)


def publishing():
    size = int((2 << 30) * args.scale)
    src = BASE / "pub"
    src.mkdir()
    big_file(src / "file", size)
    c = Cluster("c2")
    ours, digests = [], {"sha256sum": [], "openssl dgst -sha256": []}
    for i in range(args.runs):
        before = c.cpu("publisher")
        weft(c.publisher, "publish", src, "--share", f"dry{i}", "--dry-run")
        ours.append(c.cpu("publisher") - before)
        for digest, runs in digests.items():
            start = os.times()
            run(*digest.split(), src / "file")
            done = os.times()
            runs.append(done.children_user + done.children_system - start.children_user - start.children_system)
    w = statistics.median(ours)
    note(f"\n## Publishing {gib(size):.2f} GiB (chunking and hashing, --dry-run), CPU time\n")
    note("| | CPU seconds | GB/s per core | Weft is faster by |")
    note("|---|---|---|---|")
    note(f"| weft publish | {w:.2f} | {size / w / 1e9:.2f} | 1.00 |")
    for digest, runs in digests.items():
        s = statistics.median(runs)
        note(f"| {digest} | {s:.2f} | {size / s / 1e9:.2f} | {s / w:.2f} |")
    c.close()
    shutil.rmtree(src)


def small():
    n = int(100_000 * args.scale)
    src = BASE / "small"
    src.mkdir()
    small_files(src, n, 10_000)
    c = Cluster("c3")
    row = {}

    def publish():
        row.update(json.loads(weft(c.publisher, "publish", src, "--share", "small", "--json")))

    first = timed(publish)
    weft(c.server, "grant", "small", "--all", "read")
    unchanged = [timed(publish) for _ in range(args.runs)]
    find = [timed(lambda: run("find", src, "-printf", "%p %s %T@\n")) for _ in range(args.runs)]
    note(f"\n## {n} files of 10 KB\n")
    note(f"Publish, until the server holds it all: {first:.2f} s = {n / first:.0f} files/s. Unchanged again: "
         f"{statistics.median(unchanged):.2f} s against `find -printf` {statistics.median(find):.2f} s: "
         f"{statistics.median(unchanged) / statistics.median(find):.2f} times.\n")
    sync = rsyncd(src)
    dests = iter(range(1000))

    def get():
        weft(c.reader, "get", "small", c.base / f"dest{next(dests)}")

    # Each run into a new directory of a reader that has nothing yet: its home is put back.
    def fresh_get():
        end(c.procs["reader"])
        shutil.rmtree(c.reader)
        invite = json.loads(weft(c.server, "invite", "--json"))["invite"]
        weft(c.reader, "join", invite, "--name", f"reader{next(dests)}")
        c.procs["reader"] = daemon(c.reader, "agent")
        os.sync()
        start = time.monotonic()
        get()
        fresh_get.times.append(time.monotonic() - start)

    fresh_get.times = []

    def rsync():
        d = c.base / f"rsync{next(dests)}"
        run("rsync", "-a", "--whole-file", f"rsync://127.0.0.1:{sync[1]}/src/", d)
        os.sync()

    rsync_times = []
    for _ in range(args.runs):
        fresh_get()
        if sync:
            os.sync()
            rsync_times.append(timed(rsync))
    t = statistics.median(fresh_get.times)
    note("| fetch one to one | seconds | files/s | Weft is faster by |")
    note("|---|---|---|---|")
    note(f"| weft get (TLS, verified, durable) | {t:.2f} | {n / t:.0f} | 1 |")
    if rsync_times:
        r = statistics.median(rsync_times)
        note(f"| rsync daemon (in clear), sync | {r:.2f} | {n / r:.0f} | {r / t:.2f} |")
    note(f"\nPeak memory (VmHWM): server {c.memory('server', 'VmHWM'):.0f} MiB, publisher {c.memory('publisher', 'VmHWM'):.0f} MiB, "
         f"reader {c.memory('reader', 'VmHWM'):.0f} MiB.")
    c.close()
    if sync:
        end(sync[0])
    shutil.rmtree(src)


def memory():
    n = int(2000 * args.scale)
    c = Cluster("c4")
    time.sleep(3)
    before = c.memory("server")
    note("\n## Memory\n")
    note(f"Idle (VmRSS): agent {c.memory('reader'):.1f} MiB, server {before:.1f} MiB.")
    invite = json.loads(weft(c.server, "invite", "--uses", n, "--json"))["invite"]
    crowd = subprocess.Popen([PROGRAMS / "bench_agents", invite, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes.append(crowd)
    said = crowd.stdout.readline().strip()
    if not said:
        raise SystemExit("bench_agents: not all were connected")
    time.sleep(5)
    after = c.memory("server")
    note(f"\n{n} more devices that joined, and are connected over TLS and idle: server {after:.1f} MiB, {(after - before) * 1024 / n:.1f} "
         f"KiB each, what it remembers of the device included ({said}, both sides on this machine).")
    crowd.communicate(timeout=60)
    c.close()


def swarm():
    """bench/swarm.py has many machines of its own."""
    r = subprocess.run([sys.executable, pathlib.Path(__file__).with_name("swarm.py"), WEFT, "--runs", str(args.runs),
                        "--mib", str(max(1, int(64 * args.scale))), "--gib", str(2 * args.scale)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    note(r.stdout.rstrip())


BENCHMARKS = {"one_to_one": one_to_one, "publishing": publishing, "small": small, "memory": memory, "swarm": swarm}


def main():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    note(f"Weft {weft(BASE, 'version').split()[1]}, {os.cpu_count()} cores of {cpu}, kernel {os.uname().release}, "
         f"{time.strftime('%Y-%m-%d')}.")
    try:
        for name, f in BENCHMARKS.items():
            if not args.only or name in args.only.split(","):
                f()
    finally:
        for p in processes:
            end(p)
        shutil.rmtree(BASE, ignore_errors=True)
    if args.out:
        pathlib.Path(args.out).write_text("\n".join(rows) + "\n")


main()
