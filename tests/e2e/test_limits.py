"""up-limit and down-limit: one line for all connections of a node.  That nothing is faster than it says is tested here; that it
is not slower either is measured (docs/benchmarks.md)."""
import threading
import time

from weft import USAGE, Node, assert_same, make_files

SIZE = 6 << 20
RATE = 2_000_000  # bytes a second
TEXT = "16Mbit"


def took(*gets):
    """Seconds until all of these (agent, dest) have got the tree, begun at the same time."""
    begun = time.monotonic()
    threads = [threading.Thread(target=a.json, args=("get", "tree", d)) for a, d in gets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return time.monotonic() - begun


def test_an_uplink_is_shared_and_not_exceeded(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    owner = net.agent("owner")
    owner.arguments += ["--up-limit", TEXT]
    owner.restart()
    owner.wait_for_link()
    begun = time.monotonic()
    owner.json("publish", src, "--share", "tree", "--policy", "central")
    assert time.monotonic() - begun > SIZE / RATE * 0.9
    status = owner.json("status")
    assert status["up_limit"] == RATE and "down_limit" not in status
    net.server.arguments += ["--up-limit", TEXT]
    net.server.restart()
    assert net.server.json("status")["up_limit"] == RATE
    readers = [net.agent(f"r{i}", "--share", "tree:read") for i in range(2)]
    for r in readers:
        r.wait_for_link()
    assert took(*[(r, tmp_path / r.name) for r in readers]) > 2 * SIZE / RATE * 0.9
    for r in readers:
        assert_same(src, tmp_path / r.name)


def test_a_downlink_is_not_exceeded_and_a_line_of_the_configuration_says_so(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    net.agent("owner").json("publish", src, "--share", "tree", "--policy", "central")
    reader = net.agent("reader", "--share", "tree:read")
    (reader.home / "weft.conf").write_text("down-limit = 2MB/s\n")
    reader.restart()
    reader.wait_for_link()
    assert reader.json("status")["down_limit"] == RATE
    assert "takes in at most" in reader.run("status").stdout
    assert took((reader, tmp_path / "dest")) > SIZE / RATE * 0.9
    assert_same(src, tmp_path / "dest")


def test_a_limit_that_is_none_is_refused(tmp_path):
    node = Node(tmp_path, "n")
    for value in ("50", "fast", "0Mbit", "100kbit"):
        assert "RATE" not in node.fails(USAGE, "agent", "--up-limit", value)
        assert value in node.fails(USAGE, "agent", "--down-limit", value)
