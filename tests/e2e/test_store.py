"""What the server keeps: damage is named and repaired, what was removed gives its space back, whoever is away or not."""
import random

import pytest

from weft import PARTLY, assert_same, flip, make_files, wait_until

SIZE = 8 << 20
SLOW = 2 << 20


def packs(net):
    return sorted(p for p in (net.server.home / "store").rglob("*") if p.is_file() and "pack" in str(p))


def stored(net):
    return sum(p.stat().st_size for p in packs(net))


def damage(net, seed):
    """One bit of each of some places of the biggest pack."""
    rng = random.Random(seed)
    big = max(packs(net), key=lambda p: p.stat().st_size)
    for part in range(8):
        flip(big, rng, at=(part + 1) * big.stat().st_size // 10)


@pytest.mark.parametrize("returns", [False, True], ids=["publisher is here", "publisher comes back"])
def test_what_the_store_lost_is_fetched_again_from_its_publisher(net, tmp_path, returns):
    src = make_files(tmp_path / "src", SIZE)
    publisher, reader = net.agent("publisher"), net.agent("reader", start=False)
    publisher.json("publish", src, "--share", "tree", "--policy", "central")
    net.server.run("grant", "tree", "reader", "read")
    if returns:
        assert publisher.stop() == 0
    assert net.server.stop() == 0
    damage(net, 1)
    net.server.start()
    if not returns:
        publisher.wait_for_link()
    r = net.server.run("verify", "tree", check=False)
    assert r.returncode == PARTLY and "damaged" in r.stderr, r.stderr
    if returns:
        assert net.server.run("verify", "tree", check=False).returncode == PARTLY
        assert not net.server.says("whole again")
        publisher.start()
    wait_until("the store is whole again", lambda: net.server.says("the store is whole again"))
    assert net.server.json("verify", "tree")["differences"] == 0
    reader.start("agent", "--listen", "127.0.0.1:0")
    reader.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")


def test_a_publisher_that_went_away_in_the_middle_keeps_neither_space_nor_others(slow, tmp_path):
    """A collection used to wait for it, and all who published after that waited for the collection."""
    gone, other = slow.agent("gone"), slow.agent("other")
    old, big, small = (make_files(tmp_path / n, SIZE, seed=i) for i, n in enumerate(("old", "big", "small")))
    other.json("publish", old, "--share", "old", "--policy", "central")
    slow.relay.rate = SLOW
    command = gone.begin("publish", big, "--share", "big")
    gone.wait_for_moved(SIZE // 2)
    gone.kill()
    command.communicate()
    slow.relay.rate = None
    full = stored(slow)
    slow.server.run("rm", "old")
    wait_until("its space comes back", lambda: stored(slow) < full - SIZE // 2)
    assert other.json("publish", small, "--share", "small", "--policy", "central")["snapshot"] == 1
    sent = slow.relay.up
    gone.start()
    gone.wait_for_link()
    wait_until("it has finished", lambda: [s.get("snapshot") for s in gone.json("shares") if s["share"] == "big"] == [1])
    # what had arrived was not collected
    assert slow.relay.up - sent < SIZE * 3 // 4
    assert slow.server.json("verify", "big")["differences"] == 0


def test_a_collection_stops_nobody_who_publishes(slow, tmp_path):
    publisher, other = slow.agent("publisher"), slow.agent("other")
    src = make_files(tmp_path / "src", SIZE)
    other.json("publish", make_files(tmp_path / "old", SIZE, seed=5), "--share", "old", "--policy", "central")
    slow.relay.rate = SLOW
    before = slow.relay.up
    command = publisher.begin("publish", src, "--share", "tree", "--policy", "central")
    publisher.wait_for_moved(SIZE // 4)
    full = stored(slow)
    slow.server.run("rm", "old")
    wait_until("its space comes back", lambda: slow.server.says("given back"))
    assert command.poll() is None and full > 0
    slow.relay.rate = None
    _, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    assert slow.relay.up - before < SIZE * 3 // 2
    assert slow.server.json("verify", "tree")["differences"] == 0


def test_removing_what_is_only_announced_makes_its_publisher_begin_anew(slow, tmp_path):
    publisher = slow.agent("publisher")
    src = make_files(tmp_path / "src", SIZE)
    slow.relay.rate = SLOW
    command = publisher.begin("publish", src, "--share", "tree", "--policy", "central", "--label", "half")
    publisher.wait_for_moved(SIZE // 4)
    slow.server.run("rm", "tree@half")
    slow.relay.rate = None
    _, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    assert publisher.says("it is being removed; trying again")
    slow.server.restart()
    publisher.wait_for_link()
    assert [s["snapshot"] for s in publisher.json("snapshots", "tree")] == [1]
