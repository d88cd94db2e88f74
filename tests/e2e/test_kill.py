"""Agent, publisher and server are killed at random moments; everything goes on by itself, every file is the old or the new one,
whole, and only what was missing is fetched again.  docs/threat-model.md, claim 15.

WEFT_SEED=N does again what a failure printed; WEFT_LONG=1 does a hundred rounds.
"""
import json
import os
import random
import time

import pytest

from weft import LONG, PATIENCE, SEED, Net, assert_same, hidden_left, noise, snapshot_of, wait_until, write

ROUNDS = 100 if LONG else 10
RATE = 4 << 20
SLOW_BYTES = 12 << 20
# What may be lost with a process: what was not flushed (a second's worth) and what was under way.
LOST = RATE + (2 << 20)


class World(Net):
    def __init__(self, base):
        super().__init__(base)
        self.start_server(relay=True)
        self.src, self.dest = base / "src", base / "dest"
        self.publisher, self.reader = self.agent("publisher"), self.agent("reader")
        for i in range(60):
            write(self.src / f"d{i % 5}" / f"f{i}", noise(random.Random(i), 2000))
        self.publisher.json("publish", self.src, "--share", "tree", "--policy", "central")
        self.server.run("grant", "tree", "--all", "read")
        self.reader.json("get", "tree", self.dest)

    def victim(self, rng, *names):
        return getattr(self, rng.choice(names))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("kill"))
    yield w
    for node in (w.publisher, w.reader):
        assert node.json("verify", "tree")["differences"] == 0
    assert w.server.json("verify", "tree")["differences"] == 0
    assert w.close() == []


def change(src, rng, round, new_bytes):
    """NEW_BYTES of new content, some of it in one file, a rename, a removal, a new mode."""
    write(src / "big", noise(rng, new_bytes // 2))
    n = 40
    for i in range(n):
        write(src / f"d{rng.randrange(5)}" / f"r{round}-{i}", noise(rng, new_bytes // 2 // n))
    there = sorted(p for p in src.rglob("f*") if p.is_file())
    rng.shuffle(there)
    if len(there) > 3:
        os.rename(there[0], src / f"moved-{round}")
        there[1].unlink()
        there[2].chmod(0o600)


def kill_and_restart(node, rng, after, within):
    time.sleep(rng.uniform(after, within))
    node.kill()
    time.sleep(rng.uniform(0, 0.2))


def each_is_old_or_new(dest, old, new):
    """By content and size: times and modes are set when a file is in its place."""
    for path, what in snapshot_of(dest).items():
        if what[0] == "file":
            wanted = [v[3:] for v in (old.get(path), new.get(path)) if v and v[0] == "file"]
            assert what[3:] in wanted, f"{path} is neither what it was nor what it is to be"


def publish_under_fire(world, rng, slow):
    """Gives what went towards the server."""
    victim = world.victim(rng, "publisher", "server")
    print(f"  publish, kill {victim.name}")
    world.relay.rate = RATE if slow else None
    before = world.relay.up
    command = world.publisher.begin("publish", world.src, "--share", "tree")
    kill_and_restart(victim, rng, 0.0, SLOW_BYTES / RATE if slow else 0.5)
    world.relay.rate = None
    victim.start()
    world.publisher.wait_for_jobs()
    command.communicate(timeout=PATIENCE)
    sent = world.relay.up - before
    # Killed before the job was on the disk, there is none to go on with: asked again, it does what is left.
    world.publisher.run("publish", world.src, "--share", "tree")
    return sent


def get_under_fire(world, rng, slow, new):
    """Gives what came from the server."""
    victim = world.victim(rng, "reader", "server")
    print(f"  get, kill {victim.name}")
    old = snapshot_of(world.dest)
    world.relay.rate = RATE if slow else None
    before = world.relay.down
    command = world.reader.begin("get", "tree", world.dest)
    kill_and_restart(victim, rng, 0.0, SLOW_BYTES / RATE if slow else 0.5)
    if victim is world.reader:
        each_is_old_or_new(world.dest, old, new)
    world.relay.rate = None
    victim.start()
    world.reader.wait_for_jobs()
    command.communicate(timeout=PATIENCE)
    each_is_old_or_new(world.dest, old, new)
    got = world.reader.json("get", "tree", world.dest)
    return world.relay.down - before, got


@pytest.mark.parametrize("round", range(ROUNDS))
def test_killed_at_a_random_moment_it_ends_byte_identical(world, round):
    print(f"WEFT_SEED={SEED} round {round}")
    rng = random.Random(f"{SEED}-{round}")
    slow = round % 2 == 0
    size = SLOW_BYTES if slow else 2 << 20
    change(world.src, rng, round, size)
    new = snapshot_of(world.src)
    sent = publish_under_fire(world, rng, slow)
    most = (size + min(LOST, size)) * 1.05  # at most all of it was under way, and is sent again with what goes with it
    assert sent < most, f"{sent} bytes were sent for {size} new ones"
    came, last = get_under_fire(world, rng, slow, new)
    assert came < most, f"{came} bytes came for {size} new ones"
    print(f"  {size} new bytes: {sent} sent, {came} came")
    assert last["in_way"] == 0
    assert_same(world.src, world.dest)
    assert not hidden_left(world.dest)


def test_all_three_at_once(world):
    """A power cut in the whole house, twice in one transfer."""
    rng = random.Random(f"{SEED}-all")
    print(f"WEFT_SEED={SEED}")
    change(world.src, rng, "all", SLOW_BYTES)
    nodes = (world.server, world.publisher, world.reader)
    world.relay.rate = RATE
    commands = [world.publisher.begin("publish", world.src, "--share", "tree")]
    for _ in range(2):
        time.sleep(rng.uniform(0.2, 0.8))
        for node in nodes:
            node.kill()
        for node in nodes:
            node.start()
    world.relay.rate = None
    world.publisher.wait_for_jobs()
    for c in commands:
        c.communicate(timeout=PATIENCE)
    world.publisher.run("publish", world.src, "--share", "tree")
    wait_until("the reader is connected", lambda: world.reader.json("status")["connected"])
    world.reader.json("get", "tree", world.dest)
    assert_same(world.src, world.dest)


def test_the_bytes_over_all_runs_are_those_that_were_missing(world):
    """One large get, its agent killed again and again, in the middle of it each time."""
    rng = random.Random(f"{SEED}-again")
    print(f"WEFT_SEED={SEED}")
    size = 28 << 20
    write(world.src / "large", noise(rng, size))
    world.relay.rate = None
    world.publisher.json("publish", world.src, "--share", "tree")
    before = world.relay.down
    command = world.reader.begin("get", "tree", world.dest)
    kills = 0
    for _ in range(3):
        world.relay.rate = RATE
        begun = world.relay.down
        wait_until("bytes come", lambda: world.relay.down > begun + RATE * 2)
        world.reader.kill()
        kills += 1
        world.reader.start()
        command.communicate(timeout=PATIENCE)
    world.relay.rate = None
    world.reader.wait_for_jobs()
    came = world.relay.down - before
    print(json.dumps({"size": size, "came": came, "kills": kills}))
    assert came < (size + kills * LOST) * 1.05
    assert_same(world.src, world.dest)
