#!/usr/bin/env python3
"""make demo: one server, one publisher, three agents, as real processes on loopback, with real files.

usage: demo.py WEFT [DIR...]      (default: /usr/include and /usr/lib/gcc of this machine, and one file of 128 MiB)

Publishes a copy-free view of DIR, fetches it on the three at once, compares every byte, mode and time with the source, and
prints what each one took and from where.  Everything is in a temporary directory that is removed in the end; every process
started here is ended here.
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
AGENTS = ("berlin", "lisbon", "osaka")
processes = []


def say(text=""):
    print(text, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def weft(home, *args):
    r = subprocess.run([WEFT, *map(str, args), "--home", str(home)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if r.returncode not in (0, 5):
        sys.exit(f"weft {' '.join(map(str, args))}: {r.stderr.strip()}")
    return r.stdout


def daemon(base, name, *args):
    home = base / name
    log = open(base / f"{name}.log", "wb")
    p = subprocess.Popen([WEFT, *map(str, args), "--home", str(home)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    processes.append(p)
    for _ in range(600):
        if p.poll() is not None:
            sys.exit(f"{name} did not start:\n" + (base / f"{name}.log").read_text())
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(home / "control.sock"))
                return home
            except OSError:
                time.sleep(0.05)
    sys.exit(f"{name} did not start within 30 s")


def stop_all():
    for p in reversed(processes):
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
    for p in reversed(processes):
        try:
            p.wait(timeout=20)
        except subprocess.TimeoutExpired:
            p.kill()


def human(n):
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n < 1024 or unit == "TiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024


def gather(base, dirs):
    """The tree to publish: what was named, or this machine's headers and compiler and one big file."""
    if len(dirs) == 1:
        return pathlib.Path(dirs[0]).resolve()
    src = base / "source"
    src.mkdir()
    for d in dirs or ["/usr/include", "/usr/lib/gcc"]:
        if os.path.isdir(d):
            shutil.copytree(d, src / d.strip("/").replace("/", "-"), symlinks=True)
    if not dirs:
        with open(src / "one-big-file", "wb") as f:
            for _ in range(128):
                f.write(os.urandom(1 << 20))
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


def main():
    base = pathlib.Path(tempfile.mkdtemp(prefix="weft-demo-"))
    try:
        say("gathering files ...")
        src = gather(base, sys.argv[2:])
        wanted = entries(src)
        files = sum(1 for w in wanted.values() if w[0] == "file")
        size = sum(w[3] for w in wanted.values() if w[0] == "file")
        say(f"{src}: {files} files, {human(size)}\n")

        port = free_port()
        server = daemon(base, "server", "server", "--listen", f"127.0.0.1:{port}", "--advertise", "127.0.0.1", "--name", "server")
        say(f"$ weft server --listen 127.0.0.1:{port}")
        homes = {}
        for name in ("publisher", *AGENTS):
            invite = json.loads(weft(server, "invite", "--json"))["invite"]
            weft(base / name, "join", invite, "--name", name)
            homes[name] = daemon(base, name, "agent")
            say(f"$ weft join {invite[:18]}...     # {name}; then: weft agent")

        say(f"$ weft publish {src} --share demo")
        start = time.monotonic()
        row = json.loads(weft(homes["publisher"], "publish", src, "--share", "demo", "--json"))
        took = time.monotonic() - start
        say(f"  snapshot {row['snapshot']}: {row['files']} files, {human(row['bytes'])}, "
            f"on the server in {took:.1f} s ({human(row['bytes'] / took)}/s)")
        weft(server, "grant", "demo", "--all", "read")
        say("$ weft grant demo --all read")
        say("$ weft get demo DEST                     # on all three at once\n")

        def fetch(name):
            begin = time.monotonic()
            got = json.loads(weft(homes[name], "get", "demo", base / f"dest-{name}", "--json"))
            return name, time.monotonic() - begin, got

        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = list(pool.map(fetch, AGENTS))
        say("comparing every byte, mode and time with the source ...\n")
        failed = False
        say(f"{'agent':<10}{'time':>8}{'rate':>14}   {'bytes came from':<38}{'compared'}")
        for name, seconds, got in results:
            bad = differences(src, base / f"dest-{name}", wanted)
            failed |= bool(bad)
            sources = ", ".join(f"{s['name']} {human(s['bytes'])}" for s in got.get("sources", []))
            if got["bytes_reused"]:
                sources += f", copied here {human(got['bytes_reused'])}"
            verdict = "identical" if not bad else f"{len(bad)} DIFFER, first {bad[0]!r}"
            say(f"{name:<10}{seconds:>6.1f} s{human(size / seconds) + '/s':>14}   {sources:<38}{verdict}")
        say()
        if failed:
            sys.exit("the demo FAILED: what arrived is not what was published")
        say(f"{len(wanted)} entries of three copies are identical to the source.")
    finally:
        stop_all()
        shutil.rmtree(base, ignore_errors=True)


main()
