"""A seed that nobody has needed for a minute closes its swarm, and gives all the same when somebody needs it."""

import random
import time

from test_damage import chunks_of, pack_of
from weft import DONE, PARTLY, assert_same, flip, make_files, wait_until

IDLE = 60  # seconds: SWARM_IDLE_MS


def gives(node):
    """It knows who takes part: it has a swarm of it."""
    return node.json("why", "tree")["sources"] != []


def test_an_idle_seed_closes_its_swarm_and_wakes_when_somebody_lacks_something(net, tmp_path):
    seed = net.agent("seed")
    make_files(tmp_path / "tree", 1 << 20)
    seed.json("publish", tmp_path / "tree", "--share", "tree")
    wait_until("the seed has its swarm", lambda: gives(seed))
    end = time.monotonic() + 2 * IDLE
    while gives(seed):
        assert time.monotonic() < end, "it is never idle"
        time.sleep(3)
    pack = pack_of(net.server, "store")
    chunk = chunks_of(pack)[0]
    flip(pack, random.Random(1), chunk.content + 100)
    assert net.server.run("verify", "tree", check=False).returncode == PARTLY
    wait_until("the store is whole again", lambda: net.server.run("verify", "tree", check=False).returncode == DONE)
    net.server.run("grant", "tree", "--all", "read")
    reader = net.agent("reader")
    reader.json("get", "tree", tmp_path / "dest")
    assert_same(tmp_path / "tree", tmp_path / "dest")
    assert "reader" in {s["name"] for s in seed.json("why", "tree")["sources"]}
