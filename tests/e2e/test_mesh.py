"""A server, a publisher and six agents that give each other what is published.  Any of them may die at any moment; each round
ends byte-identical.  docs/threat-model.md, claim 15.

WEFT_SEED=N does again what a failure printed; WEFT_LONG=1 does a hundred rounds.
"""
import json
import random
import time

import pytest

from weft import FAILED, LONG, PATIENCE, SEED, Net, assert_same, hidden_left, noise, snapshot_of, wait_until, write

ROUNDS = 100 if LONG else 10
READERS = 6
SIZE = 4 << 20
UP = "24Mbit"  # of each: a transfer takes seconds


class World(Net):
    """A share `tree` of which everybody has the first snapshot."""

    def __init__(self, base):
        super().__init__(base)
        self.start_server("--up-limit", UP)
        self.src = base / "src"
        self.author = self.limited("author")
        self.readers = [self.limited(f"r{i}") for i in range(READERS)]
        self.all = [self.server, self.author, *self.readers]
        self.change(random.Random(0), 1 << 16)
        self.author.json("publish", self.src, "--share", "tree")
        self.server.run("grant", "tree", "--all", "read")

    def limited(self, name):
        node = self.agent(name, start=False)
        return node.start("agent", "--listen", "127.0.0.1:0", "--name", name, "--up-limit", UP)

    def change(self, rng, size):
        for i in range(4):
            write(self.src / f"part{i}", noise(rng, size // 4))
        for _ in range(5):
            write(self.src / f"d{rng.randrange(9)}" / "small", noise(rng, rng.randrange(3000)))

    def announce(self, rng, size=SIZE):
        """A new snapshot that the server and the readers know of; its id."""
        self.change(rng, size)
        return self.author.json("publish", self.src, "--share", "tree", "--no-wait")["id"]

    def dest(self, reader):
        return self.base / f"dest-{reader.name}"

    def get(self, id_, readers=None):
        return [r.begin("get", f"tree@{id_}", self.dest(r)) for r in readers or self.readers]

    def end(self, commands):
        """Those whose agent died are over, too."""
        for c in commands:
            c.communicate(timeout=PATIENCE * 2)

    def settle(self, id_):
        """Everything goes on by itself; what was not on the disk when its agent died is asked for again."""
        for r in self.readers:
            r.wait_for_jobs()
            if not self.dest(r).exists() or snapshot_of(self.dest(r)) != snapshot_of(self.src):
                r.json("get", f"tree@{id_}", self.dest(r))
            assert_same(self.src, self.dest(r))
            wait_until("what its death left is removed", lambda r=r: not hidden_left(self.dest(r)), 30)

    def up(self):
        for n in self.all:
            if not n.is_running():
                n.start()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("mesh"))
    yield w
    w.up()
    for n in (w.server, w.author, *w.readers):
        assert n.json("verify", "tree")["differences"] == 0
    assert w.close() == []


@pytest.fixture(autouse=True)
def everybody(world):
    yield
    world.up()
    world.author.wait_for_jobs()


def given(node, share, id_=None):
    """Bytes that it has sent to others, of the snapshot that it takes part in now."""
    r = node.run("why", share, "--json", check=False)
    told = json.loads(r.stdout) if r.returncode == 0 else {"id": id_, "bytes_out": 0}
    return told["bytes_out"] if id_ in (None, told["id"]) else 0


def sources(told):
    return {s["name"]: s["bytes"] for s in told["sources"]}


@pytest.mark.parametrize("round", range(ROUNDS))
def test_whoever_is_killed_all_end_byte_identical(world, round):
    print(f"WEFT_SEED={SEED} round {round}")
    rng = random.Random(f"{SEED}-{round}")
    id_ = world.announce(rng)
    commands = world.get(id_)
    down = []
    for _ in range(rng.randint(2, 5)):
        time.sleep(rng.uniform(0, 0.6))
        victim = rng.choice(world.all)
        print(f"  kill {victim.name}")
        victim.kill()
        if victim not in down:
            down.append(victim)
        if rng.random() < 0.6:
            down.pop(rng.randrange(len(down))).start()
    for node in down:
        if not node.is_running():
            node.start()
    world.end(commands)
    world.settle(id_)
    world.author.wait_for_jobs()


def has_begun(reader):
    """Bytes have come: it knows what it gets, and from whom."""
    return any(j.get("done", 0) > 0 for j in reader.jobs())


def test_without_the_server_from_the_announcement_on(world):
    rng = random.Random(f"{SEED}-server")
    id_ = world.announce(rng)
    commands = world.get(id_)
    for r, c in zip(world.readers, commands):
        wait_until(f"{r.name} has begun, or has all of it", lambda r=r, c=c: c.poll() is not None or has_begun(r))
    world.server.kill()
    for c in commands:
        out, err = c.communicate(timeout=PATIENCE * 2)
        assert c.returncode == 0, (out, err)
    for r in world.readers:
        assert_same(world.src, world.dest(r))
    # It comes back, and gets its own copy.
    world.server.start()
    wait_until("it is the head", lambda: id_ in [s["id"] for s in world.server.json("snapshots", "tree")
                                                 if s["state"] in ("head", "kept")])


def test_without_the_publisher_once_all_is_out(world):
    rng = random.Random(f"{SEED}-author")
    id_ = world.announce(rng)
    commands = world.get(id_)
    wait_until("1.1 copies are out", lambda: given(world.author, "tree", id_) >= SIZE * 1.1)
    world.author.kill()
    for c in commands:
        out, err = c.communicate(timeout=PATIENCE * 2)
        assert c.returncode == 0, (out, err)
    for r in world.readers:
        assert_same(world.src, world.dest(r))


def test_who_joins_late_gets_it_from_others_and_hardly_from_the_server(world, tmp_path):
    rng = random.Random(f"{SEED}-late")
    world.change(rng, SIZE)
    id_ = world.author.json("publish", world.src, "--share", "tree")["id"]
    for c in world.get(id_, world.readers[:3]):
        assert c.wait(timeout=PATIENCE * 2) == 0
    world.author.kill()
    late = world.limited("late")
    late.wait_for_link()
    told = late.json("get", "tree", tmp_path / "late")
    assert_same(world.src, tmp_path / "late")
    came = sources(told)
    assert sum(came.values()) >= SIZE and came.get("spine", 0) < SIZE * 0.2, came
    assert late.stop() == 0
    world.nodes.remove(late)


def test_who_was_restarted_gives_what_it_has(world, tmp_path):
    """A publisher from the files that it published, a reader from those that it received."""
    rng = random.Random(f"{SEED}-restarted")
    reader, late = world.readers[:2]
    for name, node in (("of-author", world.author), ("of-reader", reader)):
        write(tmp_path / name / "file", noise(rng, SIZE))
        world.author.json("publish", tmp_path / name, "--share", name)
        world.server.run("grant", name, "--all", "read")
        if node is reader:
            reader.json("get", name, tmp_path / "copy")
            world.author.kill()
        node.restart()
        node.wait_for_link()
        came = sources(late.json("get", name, tmp_path / f"late-{name}"))
        assert came.get(node.name, 0) > SIZE * 0.2, came
        assert_same(tmp_path / name, tmp_path / f"late-{name}")


def test_of_a_central_share_no_agent_answers(world, tmp_path):
    rng = random.Random(f"{SEED}-central")
    write(tmp_path / "src" / "file", noise(rng, 1 << 20))
    world.author.json("publish", tmp_path / "src", "--share", "central", "--policy", "central")
    world.server.run("grant", "central", "--all", "read")
    for r in world.readers[:3]:
        told = r.json("get", "central", tmp_path / r.name)
        assert list(sources(told)) == ["spine"], told
        assert_same(tmp_path / "src", tmp_path / r.name)
    for node in (world.author, *world.readers[:3]):
        assert given(node, "central") == 0


def waits(node):
    rows = wait_until(f"{node.name} has a job", node.jobs)
    return "is not reachable" in rows[0].get("text", "")


def test_what_needs_the_server_waits_for_it_and_says_so(world, tmp_path):
    reader, invite = world.readers[0], world.invite()
    write(tmp_path / "src" / "file", b"new")
    world.server.kill()
    get = reader.begin("get", "tree", tmp_path / "dest")
    publish = world.author.begin("publish", tmp_path / "src", "--share", "other")
    wait_until("the get says that it waits", lambda: waits(reader))
    wait_until("the publish says that it waits", lambda: waits(world.author))
    newcomer = world.base / "home-newcomer"
    said = reader.run("join", invite, "--home", newcomer, check=False)
    assert said.returncode == FAILED and "127.0.0.1" in said.stderr, said
    world.server.start()
    assert get.wait(timeout=PATIENCE * 2) == 0 and publish.wait(timeout=PATIENCE * 2) == 0
    assert_same(world.src, tmp_path / "dest")


def test_whose_right_ends_in_the_middle_gets_nothing_more_from_anybody(world, tmp_path):
    rng = random.Random(f"{SEED}-ungrant")
    write(tmp_path / "src" / "file", noise(rng, 12 << 20))
    world.author.json("publish", tmp_path / "src", "--share", "mine")
    seeds, out = world.readers[:2], world.readers[2]
    for r in (*seeds, out):
        world.server.run("grant", "mine", r.name, "read")
    for r in seeds:
        r.json("get", "mine", tmp_path / r.name)
    command = out.begin("get", "mine", tmp_path / "dest")
    out.wait_for_moved()
    world.server.run("ungrant", "mine", out.name)
    done = []

    def stands_still():
        rows = out.jobs()
        done.append(rows[0].get("done", 0) if rows else None)
        return done[-1] is None or (len(done) > 20 and len(set(done[-20:])) == 1)
    wait_until("nothing comes any more", stands_still)
    assert not (tmp_path / "dest" / "file").exists()
    for job in out.jobs():
        out.run("cancel", job["job"])
    assert command.wait(timeout=PATIENCE) != 0
    assert done[-1] is None or done[-1] < 12 << 20
    # The others have it as before.
    late = world.readers[3]
    world.server.run("grant", "mine", late.name, "read")
    late.json("get", "mine", tmp_path / "late")
    assert_same(tmp_path / "src", tmp_path / "late")
