"""Real processes for the end-to-end tests: a server, agents, trees of files, and comparing them byte by byte.

WEFT_BIN names the binary.  Everything lives in one temporary directory per test; every process started here is ended here, by
its pid; all traffic stays on 127.0.0.1.
"""
import json
import os
import pathlib
import random
import signal
import socket
import stat
import subprocess
import time

BIN = os.environ.get("WEFT_BIN", "build/src/cmd/weft")
LONG = os.environ.get("WEFT_LONG") == "1"
# Sanitizers slow everything down; a hung process is a failure, a slow one is not.
PATIENCE = float(os.environ.get("WEFT_PATIENCE", "120"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, check, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Failed(Exception):
    def __init__(self, result):
        super().__init__(f"status {result.returncode}: {result.args[1:]}\n{result.stdout}\n{result.stderr}")
        self.result = result


class Node:
    """A home and, while it runs, the daemon in it."""

    def __init__(self, base, name):
        self.name = name
        self.home = pathlib.Path(base) / f"home-{name}"
        self.log = pathlib.Path(base) / f"{name}.log"
        self.process = None
        self.arguments = []

    def start(self, *arguments, env=None, wait=True):
        if arguments:
            self.arguments = [str(a) for a in arguments]
        log = open(self.log, "ab")
        self.process = subprocess.Popen([BIN, *self.arguments, "--home", str(self.home)], stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, env={**os.environ, **(env or {})})
        log.close()
        if wait:
            self.wait_for_socket()
        return self

    def wait_for_socket(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            with socket.socket(socket.AF_UNIX) as s:
                try:
                    s.connect(str(self.home / "control.sock"))
                    return True
                except OSError:
                    return False
        wait_until(f"{self.name} is ready", ready)

    def tail(self, n=4000):
        return self.log.read_text(errors="replace")[-n:] if self.log.exists() else ""

    def kill(self):
        """As a power cut of the process: SIGKILL."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def stop(self):
        """A clean stop; sanitizers report at the end, so the status counts."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.terminate()
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"{self.name} does not stop:\n{self.tail()}")

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def run(self, *arguments, check=True, timeout=PATIENCE * 3, **kw):
        """The command line against this home."""
        r = subprocess.run([BIN, *[str(a) for a in arguments], "--home", str(self.home)], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, errors="replace", timeout=timeout, **kw)
        if check and r.returncode != 0:
            raise Failed(r)
        return r

    def json(self, *arguments, **kw):
        return json.loads(self.run(*arguments, "--json", **kw).stdout)

    def begin(self, *arguments):
        """The command line in the background."""
        return subprocess.Popen([BIN, *[str(a) for a in arguments], "--home", str(self.home)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")


class Net:
    """A server and agents that have joined it."""

    def __init__(self, base):
        self.base = pathlib.Path(base)
        self.port = free_port()
        self.server = Node(base, "server")
        self.nodes = [self.server]

    def start_server(self, *more):
        self.server.start("server", "--listen", f"127.0.0.1:{self.port}", "--advertise", "127.0.0.1",
                          "--name", "spine", *more)
        return self.server

    def invite(self, *more):
        return self.server.json("invite", *more)["invite"]

    def agent(self, name, *invite_options, start=True):
        a = Node(self.base, name)
        self.nodes.append(a)
        a.run("join", self.invite(*invite_options), "--name", name)
        if start:
            a.start("agent")
        return a

    def close(self):
        """Ends everything; returns what went wrong while ending."""
        wrong = []
        for n in reversed(self.nodes):
            try:
                status = n.stop()
                if status not in (0, None, -signal.SIGKILL):
                    wrong.append(f"{n.name} ended with {status}:\n{n.tail()}")
            except AssertionError as e:
                wrong.append(str(e))
        return wrong


# -- trees --------------------------------------------------------------------------------------------------------------

def write(path, data, mode=None, mtime_ns=None):
    path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    if mode is not None:
        os.chmod(path, mode)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))


def noise(rng, n):
    return rng.randbytes(n)


def make_tree(root, seed=1, files=200, big=3):
    """A mixed tree: small files, some big ones, an executable, a symlink, an empty directory, an empty file, odd names."""
    rng = random.Random(seed)
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for i in range(files):
        d = root / f"d{rng.randrange(12)}" / f"e{rng.randrange(4)}"
        write(d / f"f{i}", noise(rng, rng.choice([0, 1, 100, 1000, 10000, 65536, 65537])),
              mode=rng.choice([0o644, 0o600, 0o755]))
    for i in range(big):
        write(root / f"big{i}", noise(rng, rng.randrange(200_000, 3_000_000)))
    (root / "empty dir").mkdir()
    write(os.path.join(os.fsencode(root), b"odd \xff\xfe name\n\t'\""), b"odd")
    write(os.path.join(os.fsencode(root), b"n" * 255), b"long name")
    os.symlink("big0", root / "link")
    os.symlink("../outside/nowhere", root / "dangling")
    deep = root / "/".join(["deep"] * 40)
    write(deep / "down", b"deep")
    return root


def snapshot_of(root):
    """Everything that must arrive: type, mode, mtime, content or target, by path (bytes)."""
    root = os.fsencode(str(root))
    seen = {}
    for dirpath, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(b".weft")]
        for name in dirs + names:
            full = os.path.join(dirpath, name)
            path = os.path.relpath(full, root)
            if path.startswith(b".weft"):
                continue
            st = os.lstat(full)
            if stat.S_ISLNK(st.st_mode):
                seen[path] = ("link", os.readlink(full))
            elif stat.S_ISDIR(st.st_mode):
                seen[path] = ("dir", st.st_mode & 0o777, st.st_mtime_ns)
            else:
                with open(full, "rb") as f:
                    seen[path] = ("file", st.st_mode & 0o777, st.st_mtime_ns, hash_of(f), st.st_size)
    return seen


def hash_of(f):
    import hashlib
    h = hashlib.sha256()
    for block in iter(lambda: f.read(1 << 20), b""):
        h.update(block)
    return h.hexdigest()


def assert_same(a, b):
    x, y = snapshot_of(a), snapshot_of(b)
    missing = sorted(set(x) - set(y))[:5]
    extra = sorted(set(y) - set(x))[:5]
    differ = [(p, x[p], y[p]) for p in sorted(set(x) & set(y)) if x[p] != y[p]][:5]
    assert not missing and not extra and not differ, f"missing {missing} extra {extra} differ {differ}"


def hidden_left(dest):
    """Staged or half-written files that a finished transfer must not leave."""
    left = []
    for dirpath, dirs, names in os.walk(os.fsencode(str(dest))):
        left += [os.path.join(dirpath, n) for n in dirs + names if n.startswith(b".weft")]
    return [p for p in left if not p.endswith(b"/.weft") and b"/.weft/trash" not in p]
