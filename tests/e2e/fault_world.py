"""A server, a publisher and a reader whose daemons and commands fail where they are told, and what they are asked to do."""
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import time

from faults import Board
from weft import DONE, FAILED, NO_DAEMON, PARTLY, PATIENCE, Net, Node, assert_same, hidden_left, noise, snapshot_of, \
    wait_until, write

ROLES = ("server", "publisher", "reader", "command")
# Of a command that met a failure: the daemon may try again after a while, but not for long.
ANSWER_S = min(PATIENCE, 60)
GC_JOBS = 64  # as in src/engine/engine_gc.c
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
BAD = re.compile(r"runtime error:|Sanitizer|internal error|Assertion")


class Broken(Exception):
    """What must not happen, happened."""


def contents_of(root):
    """{path: hash} of the files that are visible now; what goes away meanwhile is not there."""
    seen = {}
    root = os.fsencode(str(root))
    for dirpath, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(b".weft")]
        for name in names:
            path = os.path.join(dirpath, name)
            if name.startswith(b".weft") or os.path.islink(path):
                continue
            try:
                with open(path, "rb") as f:
                    seen[os.path.relpath(path, root)] = hashlib.sha256(f.read()).digest()
            except FileNotFoundError:
                pass
    return seen


class World(Net):
    """FAILING: the roles with a board from the very first start; the others get theirs when everything runs."""

    def __init__(self, boards, rng):
        super().__init__(pathlib.Path(tempfile.mkdtemp(prefix="weft-faults-", dir=FAST)))
        self.boards, self.rng = boards, rng
        self.src, self.dest = self.base / "src", self.base / "dest"
        self.ever = {}       # path: hashes of all that was ever published there
        self.round = 0
        self.said = []       # what failed and how it was told
        self.places_received = [self.dest]
        self.marks = {}      # where in the logs the present run begins
        self.publisher = self.reader = None
        self.use(self.server, "server")

    def use(self, node, role):
        node.env = self.boards[role].env
        node.command_env = self.boards["command"].env
        return node

    def fired(self):
        return any(b.fired() for b in self.boards.values())

    # -- asking ----------------------------------------------------------------------------------------------------------

    def look(self):
        """Every visible file is whole: some published version of it."""
        for path, content in contents_of(self.dest).items():
            if content not in self.ever.get(path, ()):
                raise Broken(f"{path} is visible and is none of the published versions")

    def command(self, node, *arguments):
        """(status, stdout, stderr) of a command."""
        p = node.begin(*arguments)
        end = time.monotonic() + ANSWER_S
        while True:
            try:
                out, err = p.communicate(timeout=0.03)
                break
            except subprocess.TimeoutExpired:
                self.look()
            if time.monotonic() > end:
                p.kill()
                p.communicate()
                raise Broken(f"no answer to {arguments} within {ANSWER_S:.0f} s")
        if BAD.search(err) or p.returncode < 0:
            raise Broken(f"{arguments} ended with {p.returncode}: {err}")
        return p.returncode, out, err

    def ask(self, node, *arguments):
        """Asks, and if that failed, which it must say in one line, asks once more.  Gives what came on stdout."""
        status, out, err = self.command(node, *arguments)
        if status == DONE:
            return out
        if not self.fired():
            raise Broken(f"{arguments} failed, and nothing was made to fail: {err}")
        lines = err.splitlines()
        if status not in (FAILED, NO_DAEMON, PARTLY) or not lines or (status != PARTLY and len(lines) > 1):
            raise Broken(f"{arguments} failed with status {status} and said:\n{err}")
        self.said.append(lines[-1])
        if not node.is_running():
            raise Broken(f"{node.name} ended with {node.process.returncode}")
        status, out, err = self.command(node, *arguments)
        if status != DONE:
            raise Broken(f"{arguments} failed again with status {status}: {err}")
        return out

    def begin(self, node, *arguments):
        """Starts a daemon.  If it ends it says why in one line, and the second start succeeds."""
        for _ in range(2):
            before = len(node.tail(1 << 24))
            node.start(*arguments, wait=False)
            try:
                node.wait_for_socket()
                return
            except AssertionError:
                status, said = node.process.returncode, node.tail(1 << 24)[before:]
                last = said.splitlines()[-1] if said else ""
            if "is in use by" in last and "by weft" not in last:
                continue  # another program on this machine was given our port meanwhile
            if not self.fired():
                raise Broken(f"{node.name} does not start: {said}")
            if status != FAILED or not last:
                raise Broken(f"{node.name} did not start, with status {status}, and said:\n{said}")
            self.said.append(last)
        raise Broken(f"{node.name} does not start again: {said}")

    # -- what is done ----------------------------------------------------------------------------------------------------

    def change(self):
        """New content in large and small files, a move, a removal, a mode, links, directories; remembers every version."""
        self.round += 1
        rng, src, n = self.rng, self.src, self.round
        write(src / "big", noise(rng, 400_000 + rng.randrange(200_000)) + b"the same end" * 40_000)
        for i in range(3):
            write(src / f"d{i}" / f"new{n}", noise(rng, rng.choice([1, 3000, 70_000])))
        write(src / "d0" / "changed", noise(rng, 5000))
        write(src / "moving" / f"here{n}", noise(random.Random(7), 150_000))
        for old in (src / "moving" / f"here{n - 1}", src / "d1" / f"new{n - 1}"):
            if old.exists():
                old.unlink()
        (src / "d0" / "changed").chmod(rng.choice([0o600, 0o644, 0o755]))
        (src / "slow").unlink(missing_ok=True)
        (src / "link").unlink(missing_ok=True)
        (src / "link").symlink_to(f"d0/new{n}")
        shutil.rmtree(src / f"empty{n - 1}", ignore_errors=True)
        (src / f"empty{n}").mkdir()
        for path, content in contents_of(src).items():
            self.ever.setdefault(path, set()).add(content)

    def update(self):
        """A new version, published and received."""
        self.change()
        self.ask(self.publisher, "publish", self.src, "--share", "tree")
        self.ask(self.reader, "get", "tree", self.dest)

    def another(self):
        """A share that is new, received into a directory that is new, and removed again."""
        name = f"other{self.round}"
        src, dest = self.base / f"src-{name}", self.base / f"dest-{name}"
        write(src / "a" / "file", noise(self.rng, 300_000))
        write(src / "b", b"b")
        self.ask(self.publisher, "publish", src, "--share", name)
        self.ask(self.server, "grant", name, "reader", "read")
        self.ask(self.reader, "get", name, dest)
        assert_same(src, dest)
        self.places_received.append(dest)
        self.ask(self.server, "ungrant", name, "reader")
        self.forget(name)
        self.update()

    def large(self):
        """Files of many chunks, the same one twice, holes, rules, what is there already, what is written again."""
        name = f"large{self.round}"
        self.round += 1
        src, dest = self.base / f"src-{name}", self.base / f"dest-{name}"
        write(src / "many chunks", noise(self.rng, 4 << 20))
        write(src / "sub" / "twice", (src / "many chunks").read_bytes()[:1_500_000])
        write(src / "sub" / "again", (src / "sub" / "twice").read_bytes(), mode=0o444)
        write(src / ".weftignore", b"*.tmp\n")
        write(src / "sub" / "not.tmp", b"not to be published")
        with open(src / "holes", "wb") as f:
            f.seek(3 << 20)
            f.write(noise(self.rng, 100_000))
            f.truncate(6 << 20)
        (src / "sub").chmod(0o555)
        shutil.copytree(src / "sub", dest / "sub")
        shutil.copy2(src / "holes", dest / "holes")
        self.ask(self.publisher, "publish", src, "--share", name)
        self.ask(self.server, "grant", name, "reader", "read")
        (dest / "sub" / "not.tmp").unlink()
        self.receive(name, src, dest)
        with open(src / "many chunks", "r+b") as f:
            f.seek(2 << 20)
            f.write(noise(self.rng, 100_000))
        os.rename(src / "holes", src / "sub" / "moved holes")
        self.ask(self.publisher, "publish", src, "--share", name)
        self.receive(name, src, dest)
        self.forget(name)
        self.update()
        shutil.rmtree(src)
        shutil.rmtree(dest)
        self.places_received.remove(dest)

    def receive(self, name, src, dest):
        self.ask(self.reader, "get", name, dest)
        want = {path: what for path, what in snapshot_of(src).items() if not path.endswith(b".tmp")}
        got = snapshot_of(dest)
        assert got == want, [(p, want.get(p), got.get(p)) for p in {*want, *got} if want.get(p) != got.get(p)][:5]
        if dest not in self.places_received:
            self.places_received.append(dest)

    def broken_off(self):
        """The reader dies in the middle of a transfer and goes on with it."""
        self.change()
        write(self.src / "slow", noise(self.rng, 4 << 20))
        self.ever.setdefault(b"slow", set()).add(hashlib.sha256((self.src / "slow").read_bytes()).digest())
        self.ask(self.publisher, "publish", self.src, "--share", "tree")
        command = self.reader.begin("get", "tree", self.dest)
        end = time.monotonic() + ANSWER_S
        while command.poll() is None and not list(self.dest.glob(".weft/stage-*/*")) and time.monotonic() < end:
            time.sleep(0.003)
        self.reader.kill()
        command.communicate(timeout=ANSWER_S)
        self.look()
        self.begin(self.reader)
        wait_until("the transfer goes on to its end", lambda: self.reader.jobs() == [], ANSWER_S)

    def tidy(self, node, *what):
        """So many transfers that an agent collects what it keeps of manifests; its jobs wait meanwhile."""
        for _ in range(GC_JOBS):
            self.ask(node, *what)
        time.sleep(0.6)
        self.ask(node, *what)

    def tidy_publisher(self):
        self.tidy(self.publisher, "publish", self.src, "--share", "tree")

    def tidy_reader(self):
        self.tidy(self.reader, "get", "tree", self.dest)

    def forget(self, what):
        status, _, err = self.command(self.server, "rm", what)
        if status != DONE and self.fired():
            self.said.append(err.strip())
            status, _, err = self.command(self.server, "rm", what)
        # What was removed although it was said to have failed is not there any more.
        if status != DONE and not (self.fired() and "no such" in err):
            raise Broken(f"rm {what}: {err}")

    def remove(self):
        """A share and all old snapshots are forgotten, and most of what the store holds is collected."""
        self.update()
        name = f"waste{self.round}"
        for i in range(20):
            write(self.base / name / str(i), noise(self.rng, 200_000))
        self.ask(self.publisher, "publish", self.base / name, "--share", name)
        shutil.rmtree(self.base / name)
        self.forget(name)
        # All but the current one; what was withdrawn has no number.
        for number in sorted(s["snapshot"] for s in self.server.json("snapshots", "tree") if "snapshot" in s)[:-1]:
            self.forget(f"tree@{number}")
        self.update()  # which waits for the collection
        self.ask(self.server, "verify", "tree")

    def older(self):
        """Part of an older snapshot, and files in the way of it."""
        part = self.base / f"part{self.round}"
        self.round += 1
        write(part / "changed", b"mine")
        self.ask(self.reader, "get", "tree", part, "--path", "d0", "--overwrite")
        got = contents_of(part)
        assert got and all(got[p] == c for p, c in contents_of(self.src / "d0").items()), got
        assert any((part / ".weft/trash").rglob("changed"))

    def lists(self):
        """What only shows."""
        for node in (self.server, self.reader):
            for what in (["status"], ["shares"], ["snapshots", "tree"], ["devices"], ["jobs"], ["verify", "tree"]):
                self.ask(node, *what)

    def restart(self, node):
        if node.stop() != 0:
            raise Broken(f"{node.name} did not stop well: {node.tail()}")
        self.begin(node)
        node.wait_for_link()

    def restart_server(self):
        if self.server.stop() != 0:
            raise Broken(f"the server did not stop well: {self.server.tail()}")
        self.begin(self.server)
        for node in (self.publisher, self.reader):
            node.wait_for_link()

    def restart_publisher(self):
        self.restart(self.publisher)

    def restart_reader(self):
        self.restart(self.reader)

    def birth(self):
        """From nothing to the first snapshot received.  Of a world that has nothing yet."""
        self.begin(self.server, "server", "--listen", f"127.0.0.1:{self.port}", "--advertise", f"127.0.0.1:{self.port}",
                   "--name", "spine")
        self.publisher, self.reader = (self.born(name) for name in ("publisher", "reader"))
        self.change()
        self.ask(self.publisher, "publish", self.src, "--share", "tree")
        self.ask(self.server, "grant", "tree", "--all", "read")
        self.ask(self.reader, "get", "tree", self.dest)

    def born(self, name):
        node = self.use(self.agent_home(name), name)
        out = self.ask(self.server, "invite", "--uses", 5)
        invite = next(word for word in out.split() if word.startswith("weft"))
        status, _, err = self.join(node, invite)
        if status != DONE:
            if not self.fired() or len(err.splitlines()) != 1:
                raise Broken(f"join: {err}")
            self.said.append(err.strip())
            status, _, err = self.join(node, invite)
        if status != DONE:
            raise Broken(f"join failed again: {err}")
        self.begin(node, "agent", "--listen", "127.0.0.1:0", "--name", name)
        node.wait_for_link()
        return node

    def join(self, node, invite):
        return self.command(node, "join", invite, "--name", node.name)

    def agent_home(self, name):
        node = Node(self.base, name)
        self.nodes.append(node)
        return node

    # The cheap ones first: a place is tried in the first that passes it.  A birth is one of another world.
    STEPS = ("update", "another", "older", "remove", "lists", "restart_server", "restart_publisher", "restart_reader", "large",
             "broken_off", "birth", "tidy_publisher", "tidy_reader")

    # -- what must hold --------------------------------------------------------------------------------------------------

    def mark(self):
        self.said = []
        self.marks = {n.name: len(n.tail(1 << 24)) for n in self.nodes}

    def logs(self):
        return "".join(f"-- {n.name}\n{n.tail(1 << 24)[self.marks.get(n.name, 0):][-3000:]}\n" for n in self.nodes)

    def check(self):
        """After whatever failed, and one more update, nothing is left of it."""
        for node in self.nodes:
            if not node.is_running():
                raise Broken(f"{node.name} ended with {node.process.returncode}")
            log = node.tail(1 << 24)[self.marks.get(node.name, 0):]
            if BAD.search(log):
                raise Broken(f"{node.name} reports: {log[-2000:]}")
        self.ask(self.reader, "get", "tree", self.dest)
        assert_same(self.src, self.dest)
        for node in (self.publisher, self.reader):
            wait_until(f"{node.name} has no job left", lambda: node.jobs() == [], ANSWER_S)
        if self.left() and self.fired():
            # What could not be removed is, at the next start.
            self.said.append(f"left until the next start: {self.left()}")
            for node in (self.publisher, self.reader):
                self.restart(node)
            wait_until(f"nothing is left any more: {self.left()}", lambda: not self.left(), 10)
        if self.left():
            raise Broken(f"left: {self.left()}")
        for share in self.server.json("shares"):
            status, out, err = self.command(self.server, "verify", share["share"])
            if status != DONE:
                raise Broken(f"the server's store: {out} {err}")

    def left(self):
        """Files and directories of transfers that are over."""
        found = [p for dest in self.places_received for p in hidden_left(dest)]
        return found + [p for n in (self.publisher, self.reader) for p in (n.home / "jobs").iterdir()]

    def end(self):
        """Ends everything; what sanitizers say about it."""
        wrong = self.close()
        shutil.rmtree(self.base, ignore_errors=True)
        if wrong:
            raise Broken("\n".join(wrong))

    def throw_away(self):
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.base, ignore_errors=True)
