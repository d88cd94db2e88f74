"""Real processes for the end-to-end tests: a server, agents, trees of files, and comparing them byte by byte.

WEFT_BIN names the binary.  Everything lives in one temporary directory per test; every process started here is ended here, by
its pid; all traffic stays on 127.0.0.1.
"""
import hashlib
import json
import os
import pathlib
import random
import selectors
import signal
import socket
import stat
import subprocess
import threading
import time

BIN = os.path.abspath(os.environ.get("WEFT_BIN") or os.environ.get("WEFT") or "build/src/cmd/weft")
LONG = os.environ.get("WEFT_LONG") == "1"
SEED = int(os.environ.get("WEFT_SEED") or random.randrange(1 << 32))
# Sanitizers slow everything down; a hung process is a failure, a slow one is not.
PATIENCE = float(os.environ.get("WEFT_PATIENCE", "120"))
IS_ROOT = os.geteuid() == 0
NOBODY = 65534  # a user for whom permissions mean something, when the tests run as root

DONE, FAILED, USAGE, NO_DAEMON, DENIED, PARTLY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def environment():
    """Ours without what would steer the program; a sanitizer's finding ends it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_") and k != "XDG_STATE_HOME"}
    env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    return env


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, check, seconds=PATIENCE):
    """CHECK's first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def one_line(text):
    """TEXT is one line; gives it without its end."""
    assert text.endswith("\n") and text.count("\n") == 1, text
    return text[:-1]


class Failed(Exception):
    def __init__(self, result):
        super().__init__(f"status {result.returncode}: {result.args[1:]}\n{result.stdout}\n{result.stderr}")
        self.result = result


def let_in(path):
    """Other users may pass through what the test runner made for us alone."""
    for p in [path, *path.parents]:
        if p.stat().st_uid == os.geteuid() and not p.stat().st_mode & 0o001:
            p.chmod(p.stat().st_mode | 0o011)


class Node:
    """A home and, while it runs, the daemon in it."""

    def __init__(self, base, name, user=None):
        self.name = name
        self.home = pathlib.Path(base) / f"home-{name}"
        self.log = pathlib.Path(base) / f"{name}.log"
        self.process = None
        self.arguments = []
        self.env = {}  # of its daemon
        self.command_env = {}
        self.as_user = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        if user is not None:
            let_in(self.home.parent)
            self.home.mkdir(mode=0o700)
            os.chown(self.home, user, user)

    def start(self, *arguments, env=None, wait=True, hard_files=None):
        """HARD_FILES: so many files it may have open, and cannot ask for more."""
        if arguments:
            self.arguments = [str(a) for a in arguments]
        limit = ["prlimit", f"--nofile={hard_files}"] if hard_files else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*limit, BIN, *self.arguments, "--home", str(self.home)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env={**environment(), **self.env, **(env or {})},
                                            **self.as_user)
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

    def says(self, text):
        return text in self.tail(1 << 20)

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
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"{self.name} does not stop:\n{self.tail()}")

    def restart(self):
        assert self.stop() == 0, self.tail()
        return self.start()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def run(self, *arguments, check=True, timeout=PATIENCE * 3, **kw):
        """The command line against this home."""
        r = subprocess.run([BIN, *[str(a) for a in arguments], "--home", str(self.home)], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, errors="replace", timeout=timeout,
                           env={**environment(), **self.command_env}, **self.as_user, **kw)
        if check and r.returncode != 0:
            raise Failed(r)
        return r

    def json(self, *arguments, **kw):
        return json.loads(self.run(*arguments, "--json", **kw).stdout)

    def fails(self, status, *arguments, **kw):
        """The command ends with STATUS and says why in one line, which is given."""
        r = self.run(*arguments, check=False, **kw)
        assert r.returncode == status, f"status {r.returncode}: {arguments}\n{r.stdout}\n{r.stderr}"
        return one_line(r.stderr)

    def begin(self, *arguments):
        """The command line in the background."""
        return subprocess.Popen([BIN, *[str(a) for a in arguments], "--home", str(self.home)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                env={**environment(), **self.command_env}, **self.as_user)

    def jobs(self):
        """Those that are not over."""
        return [j for j in self.json("jobs") if j["state"] not in ("done", "failed")]

    def job(self):
        """The only one, once there is one."""
        rows = wait_until(f"{self.name} has a job", self.jobs)
        assert len(rows) == 1, rows
        return rows[0]

    def wait_for_jobs(self):
        """All of them have ended."""
        wait_until(f"{self.name} has no job left:\n{self.tail(2000)}", lambda: self.jobs() == [])

    def wait_for_moved(self, n=1):
        """A transfer is in the middle: N bytes and more are here, and not all."""
        def moved():
            rows = self.jobs()
            return rows and rows[0].get("done", 0) >= n and rows[0]["done"] < rows[0].get("total", 0) and rows[0]
        return wait_until(f"{self.name} moves bytes", moved)

    def wait_for_link(self):
        wait_until(f"{self.name} is connected", lambda: self.json("status").get("connected"))


class Relay:
    """A line between agents and the server on which bytes are counted, slowed down and cut."""

    def __init__(self, to_port):
        self.to_port = to_port
        self.rate = None           # bytes a second in each direction, of all connections together
        self.up = self.down = 0    # bytes towards the server, and from it
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.poll = selectors.DefaultSelector()
        self.poll.register(self.listener, selectors.EVENT_READ, None)
        self.pairs = {}            # socket: (the other one, is it the agent's end)
        self.lock = threading.Lock()
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        room, then = {True: 0.0, False: 0.0}, time.monotonic()
        while not self.over:
            events = self.poll.select(0.05)
            now = time.monotonic()
            for d in room:
                room[d] = min(room[d] + (self.rate or 1e12) * (now - then), (self.rate or 1e12) * 0.05)
            then = now
            with self.lock:
                for key, _ in events:
                    if key.fileobj is self.listener:
                        self.accept()
                    elif key.fileobj in self.pairs:
                        self.move(key.fileobj, room)
            if self.rate:
                time.sleep(0.005)

    def accept(self):
        a, _ = self.listener.accept()
        try:
            b = socket.create_connection(("127.0.0.1", self.to_port))
        except OSError:
            a.close()
            return
        for s, other, is_agent in ((a, b, True), (b, a, False)):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.settimeout(5)
            self.pairs[s] = (other, is_agent)
            self.poll.register(s, selectors.EVENT_READ, None)

    def move(self, s, room):
        other, is_agent = self.pairs[s]
        n = int(min(room[is_agent] / 2, 1 << 16))  # who moves much leaves room for whoever says a word
        if n <= 0:
            return
        try:
            b = s.recv(n)
            other.sendall(b)
        except OSError:
            b = b""
        if not b:
            self.drop(s)
            return
        room[is_agent] -= len(b)
        if is_agent:
            self.up += len(b)
        else:
            self.down += len(b)

    def drop(self, s):
        other, _ = self.pairs[s]
        for x in (s, other):
            self.poll.unregister(x)
            del self.pairs[x]
            x.close()

    def cut(self):
        """Every connection ends, as when a cable is pulled and put back."""
        with self.lock:
            for s in list(self.pairs):
                if s in self.pairs:
                    self.drop(s)

    def close(self):
        self.over = True
        self.thread.join()
        self.cut()
        self.listener.close()


class Net:
    """A server and agents that have joined it."""

    def __init__(self, base):
        self.base = pathlib.Path(base)
        self.port = free_port()
        self.server = Node(base, "server")
        self.nodes = [self.server]
        self.relay = None

    def start_server(self, *more, relay=False, hard_files=None):
        """RELAY: agents reach it through self.relay."""
        if relay:
            self.relay = Relay(self.port)
        self.server.start("server", "--listen", f"127.0.0.1:{self.port}", "--advertise",
                          f"127.0.0.1:{self.relay.port if relay else self.port}", "--name", "spine", *more,
                          hard_files=hard_files)
        return self.server

    def invite(self, *more):
        return self.server.json("invite", *more)["invite"]

    def agent(self, name, *invite_options, start=True, user=None):
        a = Node(self.base, name, user)
        a.run("join", self.invite(*invite_options), "--name", name)
        self.nodes.append(a)
        if start:
            a.start("agent", "--listen", "127.0.0.1:0", "--name", name)
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
            wrong += [f"{n.name}: {line}" for line in n.tail(1 << 24).splitlines()
                      if "runtime error:" in line or "Sanitizer:" in line or "internal error" in line]
        if self.relay is not None:
            self.relay.close()
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


def make_files(root, total, files=4, seed=1):
    """A tree of FILES files with TOTAL bytes that nothing shrinks."""
    rng = random.Random(seed)
    root = pathlib.Path(root)
    for i in range(files):
        write(root / f"part{i}", noise(rng, total // files))
    return root


def make_tree(root, seed=1, files=200, big=3):
    """A mixed tree: small files, some big ones, an executable, symlinks, an empty directory, empty files, odd names."""
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
    add_odd_names(root)
    os.symlink("big0", root / "link")
    os.symlink("../outside/nowhere", root / "dangling")
    deep = root / "/".join(["deep"] * 40)
    write(deep / "down", b"deep")
    return root


def add_odd_names(root):
    """Every byte that a name may have occurs in one."""
    at = os.fsencode(root)
    write(os.path.join(at, b"odd \xff\xfe name\n\t'\""), b"odd")
    write(os.path.join(at, b"n" * 255), b"long name")
    for name in (b" ", b"...", b"-rf", b"~", b"*", b"a:b", b"a\\b", b"$(x)", "sch\u00f6n".encode(), b".hidden", b"weft",
                 "e\u0301".encode(), "\u00e9".encode()):  # the last two look the same and are two names
        write(os.path.join(at, b"odd", name), name)
    every = bytes(b for b in range(1, 256) if b != ord("/"))
    write(os.path.join(at, b"odd", every[:200]), b"1")
    write(os.path.join(at, b"odd", every[200:]), b"2")


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
                seen[path] = ("file", st.st_mode & 0o777, st.st_mtime_ns, st.st_size, content_of(full, st.st_size))
    return seen


ZEROS = bytes(1 << 16)


def content_of(path, size):
    """A hash of the content that does not read holes: of the blocks that are not all zero, and where they are."""
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        at = 0
        while at < size:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA) & ~0xffff
            except OSError:
                break
            f.seek(at)
            block = f.read(1 << 16)
            if not block:
                break
            if block != ZEROS[:len(block)]:
                h.update(at.to_bytes(8, "little") + block)
            at += len(block)
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
        if os.path.basename(dirpath) == b".weft":
            left += [os.path.join(dirpath, n) for n in dirs + names if n != b"trash"]
    return [p for p in left if not p.endswith(b"/.weft") and b"/.weft/trash" not in p]


def flip(path, rng, at=None):
    """Changes one bit of the file; gives where."""
    with open(path, "r+b") as f:
        f.seek(0, os.SEEK_END)
        at = rng.randrange(f.tell()) if at is None else at
        f.seek(at)
        b = f.read(1)[0]
        f.seek(at)
        f.write(bytes([b ^ (1 << rng.randrange(8))]))
    return at
