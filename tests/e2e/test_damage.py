"""One byte is flipped in every kind of object that a node keeps: it is found and named, what exists elsewhere is fetched again, no
process ends, and nobody is ever given a wrong byte.  docs/threat-model.md, claims 14 and 16.

WEFT_SEED=N flips again what a failure printed.
"""
import json
import os
import random
import shutil
import struct
import time

import pytest

from weft import (DONE, PARTLY, PATIENCE, SEED, Net, assert_same, flip, hidden_left, make_files, make_tree, noise,
                  wait_until, write)

PACK_HEAD, RECORD_HEAD, HASH = 48, 56, 32
CHUNK, COMMIT = 1, 5


class World(Net):
    """A server, a publisher of the share `tree`, a reader who may read it."""

    def __init__(self, base):
        super().__init__(base)
        self.start_server()
        self.src, self.dest = make_tree(base / "src", files=40, big=2), base / "dest"
        self.publisher, self.reader = self.agent("publisher"), self.agent("reader")
        self.publisher.json("publish", self.src, "--share", "tree", "--policy", "central")
        self.server.run("grant", "tree", "--all", "read")

    def get(self):
        """All of it, from the server alone: what is on the reader's disk goes first."""
        shutil.rmtree(self.dest, ignore_errors=True)
        got = self.reader.json("get", "tree", self.dest)
        assert got["bytes_fetched"] > 0
        assert_same(self.src, self.dest)
        assert not hidden_left(self.dest)

    def wait_until_whole(self):
        wait_until("the store is whole again",
                   lambda: self.server.run("verify", "tree", check=False).returncode == DONE)


@pytest.fixture
def world(tmp_path):
    print(f"WEFT_SEED={SEED}")
    w = World(tmp_path)
    yield w
    assert w.close() == []


@pytest.fixture
def rng(request):
    return random.Random(f"{SEED}-{request.node.name}")


def flip_while_stopped(node, path, rng, at=None):
    """PATH is of NODE's home; gives where."""
    assert node.stop() == 0, node.tail()
    at = flip(node.home / path, rng, at)
    print(f"  {path}: byte {at}")
    return at


# -- what the server keeps ------------------------------------------------------------------------------------------------

class Record:
    """docs/format-pack.md, section 2."""

    def __init__(self, data, at):
        assert data[at:at + 4] == b"wobj"
        self.at, self.kind = at, data[at + 37]
        raw, packed = struct.unpack_from("<II", data, at + 40)
        self.leaves = at + RECORD_HEAD
        self.content = self.leaves + (HASH * -(-raw // 65536) if self.kind == CHUNK else 0)
        self.end = self.content + packed


def records_of(path):
    data, at, found = path.read_bytes(), PACK_HEAD, []
    while at < len(data):
        found.append(Record(data, at))
        at = found[-1].end
    return found


def chunks_of(path):
    return [r for r in records_of(path) if r.kind == CHUNK]


PARTS = {
    "a chunk's bytes": lambda rng, path: (r := rng.choice(chunks_of(path))) and rng.randrange(r.content, r.end),
    "a leaf list": lambda rng, path: (r := rng.choice(chunks_of(path))) and rng.randrange(r.leaves, r.content),
    "a record's head": lambda rng, path: rng.choice(chunks_of(path)).at + rng.randrange(RECORD_HEAD),
    "the head of the pack": lambda rng, path: rng.randrange(PACK_HEAD),
    "the last byte": lambda rng, path: path.stat().st_size - 1,
    "a node of the manifest": lambda rng, path: (r := rng.choice([r for r in records_of(path) if 2 <= r.kind <= 4])) and
    rng.randrange(r.content, r.end),
    "the commit": lambda rng, path: (r := [r for r in records_of(path) if r.kind == COMMIT][0]) and rng.randrange(r.content, r.end),
}


def pack_of(node, store):
    path, = (node.home / store / "packs").iterdir()
    return path


@pytest.mark.parametrize("part", PARTS)
def test_the_server_finds_damage_in_its_pack_names_it_and_fetches_it_again(world, rng, part):
    pack = pack_of(world.server, "store")
    flip_while_stopped(world.server, pack, rng, PARTS[part](rng, pack))
    world.server.start()
    world.publisher.wait_for_link()
    r = world.server.run("verify", "tree", check=False)
    assert r.returncode in (DONE, PARTLY), r.stderr
    assert r.returncode == PARTLY or "head" in part  # a head that is spoilt costs nothing: the index knows what lies there
    if r.returncode == PARTLY:
        *named, last = r.stderr.splitlines()
        assert len(named) == 1 and named[0].startswith("object ") and " in pack 1 at " in named[0]
        assert "damaged" in last and "fetched again" in last
    world.wait_until_whole()
    world.get()


@pytest.mark.parametrize("part", PARTS)
def test_a_get_that_meets_damage_on_the_server_waits_for_the_repair(world, rng, part):
    pack = pack_of(world.server, "store")
    flip_while_stopped(world.server, pack, rng, PARTS[part](rng, pack))
    world.server.start()
    world.publisher.wait_for_link()
    world.reader.wait_for_link()
    world.get()


def test_damage_is_repaired_when_the_publisher_comes_back(world, rng):
    pack = pack_of(world.server, "store")
    assert world.publisher.stop() == 0
    flip_while_stopped(world.server, pack, rng, PARTS["a chunk's bytes"](rng, pack))
    world.server.start()
    assert world.server.run("verify", "tree", check=False).returncode == PARTLY
    command = world.reader.begin("get", "tree", world.dest)
    job = world.reader.job()
    wait_until("it says what it waits for", lambda: "damaged" in (j := world.reader.job()).get("text", "") and j)
    assert job["state"] != "failed"
    assert not any(world.dest.glob("f*"))
    world.publisher.start()
    _, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == DONE, err
    assert_same(world.src, world.dest)
    world.wait_until_whole()


# -- indexes and databases ------------------------------------------------------------------------------------------------

class Keeper:
    """A file of a node's home, to be spoilt again and again and brought back."""

    def __init__(self, node, name):
        self.node, self.path = node, node.home / name
        self.stop()
        self.files = {p: p.read_bytes() for p in self.all()}

    def all(self):
        return [p for p in self.path.parent.glob(self.path.name + "*") if not p.name.endswith(".lock")]

    def stop(self):
        assert self.node.stop() in (0, 1), self.node.tail()

    def bring_back(self):
        self.stop()
        for p in self.all():
            p.unlink()
        for p, data in self.files.items():
            p.write_bytes(data)
            p.chmod(0o600)

    def starts(self):
        """Or its last line names the file, and what to do."""
        self.node.start(wait=False)
        try:
            self.node.wait_for_socket()
            return True
        except AssertionError:
            assert self.node.process.wait() == 1, self.node.tail()
            said = self.node.tail().splitlines()[-1]
            assert f"{self.path.name} is damaged" in said, said
            return False


def pages_with(path, text):
    """The numbers of the pages of a database in which TEXT occurs."""
    data = path.read_bytes()
    return [i for i in range(len(data) // 4096) if text in data[i * 4096:(i + 1) * 4096]]


def test_a_damaged_database_of_the_server_is_named_or_made_anew(world, rng):
    """Whatever byte it is: the server starts and all is as it was, or it says that a backup is needed."""
    kept = Keeper(world.server, "server.db")
    size = kept.path.stat().st_size
    refused = 0
    for at in (20, rng.randrange(100), *(rng.randrange(size) for _ in range(10))):
        print(f"  server.db: byte {flip(kept.path, rng, at)}")
        if kept.starts():
            publish_and_get(world, rng, kept)
        else:
            refused += 1
            assert "backup" in world.server.tail().splitlines()[-1]
        kept.bring_back()
    assert refused >= 1
    assert kept.starts()


def test_a_changed_right_or_name_in_the_servers_database_is_never_believed(world, rng):
    """What SQLite itself takes for any other value."""
    kept = Keeper(world.server, "server.db")
    for text in (b"publisher", b"tree"):
        for page in pages_with(kept.path, text):
            at = page * 4096 + kept.path.read_bytes()[page * 4096:].index(text)
            flip(kept.path, rng, at)
            if kept.starts():  # of an index, or the page was not in use
                assert {d["name"] for d in world.server.json("devices")} == {"spine", "publisher", "reader"}
                assert [s["share"] for s in world.server.json("shares")] == ["tree"]
            kept.bring_back()
    assert kept.starts()


def test_a_damaged_database_of_an_agent_is_named_or_made_anew(world, rng):
    """What it knew of files is found again by looking at them."""
    for node in (world.publisher, world.reader):
        kept = Keeper(node, "state.db")
        size = kept.path.stat().st_size
        for at in (20, *(rng.randrange(size) for _ in range(8))):
            print(f"  {node.name}'s state.db: byte {flip(kept.path, rng, at)}")
            if kept.starts():
                publish_and_get(world, rng, kept)
            else:
                assert "weft join" in node.tail().splitlines()[-1]
            kept.bring_back()
        assert kept.starts()


def does_or_says_why(kept, node, *arguments):
    """NODE does it.  If the damage is in the way, somebody says so, and after a restart of whom it is the damage of, it is done.
    False: it does not start again, and says why."""
    command = node.begin(*arguments)
    end = time.monotonic() + 5  # what waits, waits for the restart
    while command.poll() is None and (time.monotonic() < end or not kept.node.says("is damaged")):
        time.sleep(0.05)
    if command.poll() is None or command.returncode not in (DONE, PARTLY):
        assert kept.node.says(f"{kept.path.name} is damaged"), command.communicate()
        kept.stop()
        if not kept.starts():
            if kept.node is not node:  # it would wait for ever
                for job in node.json("jobs"):
                    if job["state"] not in ("done", "failed"):
                        node.run("cancel", job["job"])
            command.communicate(timeout=PATIENCE)
            return False
        if kept.node is node:
            node.wait_for_link()
        _, err = command.communicate(timeout=PATIENCE)
        command = node.begin(*arguments)
    _, err = command.communicate(timeout=PATIENCE)
    # What was received and is not known any more is the user's, as far as we can tell.
    assert command.returncode == DONE or "--overwrite" in err, err
    return True


def publish_and_get(world, rng, kept):
    write(world.src / "new", noise(rng, 1000))
    for agent in (world.publisher, world.reader):
        agent.wait_for_link()
    if does_or_says_why(kept, world.publisher, "publish", world.src, "--share", "tree") and \
            does_or_says_why(kept, world.reader, "get", "tree", world.dest):
        if does_or_says_why(kept, world.reader, "get", "tree", world.dest, "--overwrite"):
            assert_same(world.src, world.dest)


@pytest.mark.parametrize("which", ["publisher", "reader"])
def test_an_agent_whose_database_is_beyond_use_joins_again(world, rng, which):
    """The same device; what was published and received is recognized."""
    world.get()
    node = getattr(world, which)
    kept = Keeper(node, "state.db")
    flip(kept.path, rng, 30)
    assert not kept.starts()
    for p in kept.all():
        p.unlink()
    node.run("join", world.invite(), "--name", which)
    assert kept.starts()
    node.wait_for_link()
    write(world.src / "new", noise(rng, 1000))
    world.publisher.run("publish", world.src, "--share", "tree")
    got = world.reader.json("get", "tree", world.dest)
    assert got["in_way"] == 0 and got["bytes_fetched"] == 1000
    assert_same(world.src, world.dest)


def logs_of(node):
    """What its databases have not yet put in their place."""
    return sorted(p.relative_to(node.home) for p in node.home.rglob("*-wal") if p.stat().st_size > 0)


@pytest.mark.parametrize("which", ["server", "publisher", "reader"])
def test_a_damaged_log_of_a_database_loses_what_was_last_and_nothing_else(world, rng, which):
    """After a crash the log is all that holds the last changes.  What comes behind the damage in it is as if it had not been; it is
    announced, asked for and fetched again."""
    node = {"server": world.server, "publisher": world.publisher, "reader": world.reader}[which]
    world.get()
    for n in (world.server, world.publisher, world.reader):
        n.restart()  # everything so far is in its place
    for agent in (world.publisher, world.reader):
        agent.wait_for_link()
    write(world.src / "later", noise(rng, 300_000))
    world.publisher.json("publish", world.src, "--share", "tree")
    world.reader.json("get", "tree", world.dest)
    node.kill()
    logs = logs_of(node)
    assert logs
    for log in logs:
        print(f"  {log}: byte {flip(node.home / log, rng)}")
    node.start()
    for agent in (world.publisher, world.reader):
        agent.wait_for_link()
    assert world.server.run("verify", "tree", check=False).returncode in (DONE, PARTLY)
    world.wait_until_whole()
    write(world.src / "last", noise(rng, 300_000))
    world.publisher.json("publish", world.src, "--share", "tree")
    got = world.reader.run("get", "tree", world.dest, "--overwrite", check=False)
    assert got.returncode in (DONE, PARTLY), got.stderr
    world.get()


# -- files of a home ------------------------------------------------------------------------------------------------------

def test_a_damaged_map_of_a_snapshot_is_made_again(world, rng):
    for node, maps in ((world.server, "server-maps"), (world.publisher, "maps"), (world.reader, "maps")):
        world.get()
        assert node.stop() == 0
        for path in sorted((node.home / maps).iterdir()):
            flip(path, rng)
        node.start()
        world.publisher.wait_for_link()
        world.reader.wait_for_link()
        world.get()
        write(world.src / "new", noise(rng, 1000))
        world.publisher.json("publish", world.src, "--share", "tree")


def test_an_agent_that_has_lost_the_manifest_of_what_it_gives_starts_and_gives_it_no_more(net, tmp_path):
    src = make_files(tmp_path / "src", 1 << 20)
    owner = net.agent("owner")
    owner.json("publish", src, "--share", "tree")
    assert owner.stop() == 0
    shutil.rmtree(owner.home / "maps")
    pack_of(owner, "nodes").unlink()
    owner.start()
    owner.wait_for_link()
    assert owner.json("publish", src, "--share", "other")["snapshot"] == 1
    assert owner.stop() == 0


@pytest.mark.parametrize("name", ["device.key", "format", "weft.conf"])
def test_a_home_whose_own_files_are_damaged_says_which(world, rng, name):
    """And is left as it is: once the file is back, all is as before."""
    home = world.reader.home
    if name == "weft.conf":
        (home / name).write_text("name = reader\n")
    whole = (home / name).read_bytes()
    assert world.reader.stop() == 0
    others = {p: p.read_bytes() for p in home.iterdir() if p.is_file() and p.name not in (name, "lock")}
    for at in rng.sample(range(len(whole)), min(len(whole), 12)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        (home / name).write_bytes(damaged)
        world.reader.start(wait=False)
        try:
            world.reader.wait_for_socket()
        except AssertionError:
            assert world.reader.process.wait() in (1, 2)
            said = world.reader.tail().splitlines()[-1]
            assert name in said or "newer weft" in said, said
        else:  # white space, or the name is another one
            assert name != "format"
            world.reader.wait_for_link()  # it is still the same device
            assert world.reader.stop() == 0
            others = None
        if others:
            assert {p: p.read_bytes() for p in others} == others
    (home / name).write_bytes(whole)
    world.reader.start()
    world.reader.wait_for_link()
    world.get()


def test_a_damaged_recovery_key_does_not_keep_the_server_from_working(world, rng):
    flip_while_stopped(world.server, "recovery.key", rng)
    world.server.start()
    world.reader.wait_for_link()
    world.get()


# -- files of the user ----------------------------------------------------------------------------------------------------

def test_a_published_file_that_rots_is_not_served_as_what_it_was(world, rng):
    """The server's copy and the publisher's are damaged in the same chunk: nobody gets it, until one of them is back."""
    pack = pack_of(world.server, "store")
    size = (world.src / "big0").stat().st_size
    st, whole = (world.src / "big0").stat(), (world.src / "big0").read_bytes()
    data = pack.read_bytes()
    at = rng.randrange(size - 64)
    there = data.find(whole[at:at + 64])
    assert there > 0
    flip_while_stopped(world.server, pack, rng, there)
    flip(world.src / "big0", rng, at)
    os.utime(world.src / "big0", ns=(st.st_atime_ns, st.st_mtime_ns))
    world.server.start()
    world.publisher.wait_for_link()
    assert world.server.run("verify", "tree", check=False).returncode == PARTLY
    world.reader.wait_for_link()
    command = world.reader.begin("get", "tree", world.dest)
    wait_until("it says what it waits for", lambda: any("damaged" in j.get("text", "") for j in world.reader.jobs()))
    assert not (world.dest / "big0").exists()
    (world.src / "big0").write_bytes(whole)
    os.utime(world.src / "big0", ns=(st.st_atime_ns, st.st_mtime_ns))
    world.publisher.run("publish", world.src, "--share", "tree")
    world.server.run("verify", "tree", check=False)
    _, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == DONE, err
    assert_same(world.src, world.dest)


def test_a_fetched_file_that_rots_is_named_and_brought_back(world, rng):
    world.get()
    victim = world.dest / "big1"
    st = victim.stat()
    flip(victim, rng)
    os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns))
    r = world.reader.run("verify", "tree", "--json", check=False)
    row = json.loads(r.stdout)
    assert r.returncode == PARTLY and [d["path"] for d in row["different"]] == [str(victim)]
    assert "content" in row["different"][0]["what"]
    assert world.reader.json("get", "tree", world.dest, "--overwrite")["in_way"] == 0
    assert world.reader.json("verify", "tree")["differences"] == 0
    assert_same(world.src, world.dest)


@pytest.mark.parametrize("what", ["a staged file", "the plan"])
def test_an_interrupted_get_whose_files_are_damaged_ends_right(slow, tmp_path, rng, what):
    src = make_files(tmp_path / "src", 8 << 20)
    slow.agent("publisher").json("publish", src, "--share", "tree", "--policy", "central")
    slow.server.run("grant", "tree", "--all", "read")
    reader, dest = slow.agent("reader"), tmp_path / "dest"
    slow.relay.rate = 2 << 20
    command = reader.begin("get", "tree", dest)
    reader.wait_for_moved(1 << 20)
    time.sleep(1.2)  # what was taken is flushed within a second
    reader.kill()
    command.communicate(timeout=PATIENCE)
    if what == "the plan":
        files = [p for p in (reader.home / "jobs").rglob("*") if p.is_file()]
    else:
        files = [p for p in (dest / ".weft").rglob("*") if p.is_file() and p.stat().st_size > 65536]
    assert files
    for path in files:
        print(f"  {path}: byte {flip(path, rng)}")
    slow.relay.rate = None
    reader.start()
    reader.wait_for_jobs()
    reader.json("get", "tree", dest)
    assert_same(src, dest)
    assert reader.json("verify", "tree")["differences"] == 0
    assert not hidden_left(dest)
