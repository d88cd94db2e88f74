"""Wire compression: where the line is in the way and the content shrinks it goes out packed, and everybody says how much that
saved.  That it costs nothing elsewhere is measured (docs/benchmarks.md)."""
import os

from weft import assert_same

SIZE = 8 << 20
LIMIT = "32Mbit"


def make_text(path, seed):
    """Lines that repeat their words, as logs and sources do."""
    path.mkdir()
    words = [os.urandom(4).hex() for _ in range(200)]
    lines = (f"{i} {words[i * seed % 200]} {words[i * i % 200]} {words[i % 7]}\n" for i in range(SIZE))
    with open(path / "text", "w") as f:
        while f.tell() < SIZE:
            f.writelines(line for line, _ in zip(lines, range(1000)))
    return path


def make_noise(path):
    path.mkdir()
    (path / "noise").write_bytes(os.urandom(SIZE))
    return path


def limit(node, *way):
    node.arguments += way
    node.restart()
    node.wait_for_link()


def test_text_over_a_limited_line_is_packed_and_the_gain_is_told(net, tmp_path):
    src = make_text(tmp_path / "src", 7)
    owner = net.agent("owner")
    limit(owner, "--up-limit", LIMIT)
    owner.json("publish", src, "--share", "tree")
    given = owner.json("why", "tree")
    assert given["bytes_out"] >= SIZE and given["wire_out"] < 0.8 * given["bytes_out"]
    reader = net.agent("reader", "--share", "tree:read")
    limit(reader, "--down-limit", LIMIT)
    got = reader.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")
    assert got["bytes_fetched"] >= SIZE
    assert got["bytes_wire"] < 0.8 * got["bytes_fetched"]
    assert sum(s["bytes"] for s in got["sources"]) == got["bytes_fetched"]
    assert sum(s["bytes_wire"] for s in got["sources"]) == got["bytes_wire"]
    why = reader.json("why", "tree")
    assert why["bytes_in"] == got["bytes_fetched"] and why["wire_in"] == got["bytes_wire"]


def test_a_central_share_is_packed_too(net, tmp_path):
    src = make_text(tmp_path / "src", 3)
    net.agent("owner").json("publish", src, "--share", "tree", "--policy", "central")
    net.server.arguments += ("--up-limit", LIMIT)
    net.server.restart()
    reader = net.agent("reader", "--share", "tree:read")
    out = reader.run("get", "tree", tmp_path / "dest").stdout
    assert_same(src, tmp_path / "dest")
    assert "on the wire (" in out and "% saved)" in out


def test_what_does_not_shrink_is_sent_as_it_is(net, tmp_path):
    src = make_noise(tmp_path / "src")
    net.agent("owner").json("publish", src, "--share", "tree")
    reader = net.agent("reader", "--share", "tree:read")
    limit(reader, "--down-limit", LIMIT)
    got = reader.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")
    assert got["bytes_wire"] == got["bytes_fetched"] >= SIZE
