"""One byte is flipped in every kind of object that a node keeps: it is found and named, what exists elsewhere is fetched again, no
process ends, and nobody is ever given a wrong byte.  docs/threat-model.md, claims 14 and 16.

WEFT_SEED=N flips again what a failure printed.
"""
import random
import shutil
import struct

import pytest

from weft import DONE, PARTLY, PATIENCE, SEED, Net, assert_same, flip, hidden_left, make_tree, wait_until

PACK_HEAD, RECORD_HEAD, HASH = 48, 56, 32
CHUNK, COMMIT = 1, 5


class World(Net):
    """A server, a publisher of the share `tree`, a reader who may read it."""

    def __init__(self, base):
        super().__init__(base)
        self.start_server()
        self.src, self.dest = make_tree(base / "src", files=40, big=2), base / "dest"
        self.publisher, self.reader = self.agent("publisher"), self.agent("reader")
        self.publisher.json("publish", self.src, "--share", "tree")
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


@pytest.mark.parametrize("part", [p for p in PARTS if "byte" not in p])
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
