"""The main job: publish a folder on one machine, have it on others, every byte verified."""
import os
import pathlib

from weft import assert_same, hidden_left, make_tree, snapshot_of, write


def test_a_published_tree_arrives_whole_on_three_agents(net, tmp_path):
    src = make_tree(tmp_path / "src")
    publisher = net.agent("publisher")
    row = publisher.json("publish", src, "--share", "tree", "--label", "v1")
    assert row["snapshot"] == 1 and not row["unchanged"]
    net.server.run("grant", "tree", "--all", "read")
    before = snapshot_of(src)
    for name in ("a", "b", "c"):
        agent = net.agent(name)
        dest = tmp_path / f"dest-{name}"
        got = agent.json("get", "tree", dest)
        assert got["snapshot"] == 1 and got["in_way"] == 0
        assert got["sources"][0]["name"] == "spine"
        assert_same(src, dest)
        assert not hidden_left(dest)
    assert snapshot_of(src) == before


def test_a_second_publish_of_an_unchanged_tree_reads_nothing(net, tmp_path):
    src = make_tree(tmp_path / "src")
    publisher = net.agent("publisher")
    publisher.json("publish", src, "--share", "tree")
    again = publisher.json("publish", src, "--share", "tree")
    assert again["unchanged"] and again["files_read"] == 0 and again["snapshot"] == 1


def test_two_machines_publish_the_same_root(net, tmp_path):
    src = make_tree(tmp_path / "src")
    a, b = net.agent("a"), net.agent("b")
    a.json("publish", src, "--share", "one")
    b.json("publish", src, "--share", "two")
    got = tmp_path / "got"
    net.server.run("grant", "one", "b", "write")
    assert b.json("publish", src, "--share", "one")["unchanged"]
    b.json("get", "one", got)
    assert_same(src, got)


def test_an_update_moves_only_what_changed(net, tmp_path):
    src = make_tree(tmp_path / "src")
    publisher, reader = net.agent("publisher"), net.agent("reader")
    publisher.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "reader", "read")
    dest = tmp_path / "dest"
    reader.json("get", "tree", dest)
    write(src / "d0" / "new", b"new file")
    os.rename(src / "big0", src / "big-moved")
    os.unlink(src / "link")
    victims = [p for p in (src / "d1").rglob("f*")][:3]
    for v in victims:
        v.unlink()
    publisher.json("publish", src, "--share", "tree")
    got = reader.json("get", "tree", dest)
    assert got["snapshot"] == 2
    assert got["bytes_fetched"] < 1000
    assert_same(src, dest)


def test_what_the_user_changed_stays_and_is_named(net, tmp_path):
    src = make_tree(tmp_path / "src")
    publisher, reader = net.agent("publisher"), net.agent("reader")
    publisher.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "--all", "read")
    dest = tmp_path / "dest"
    write(dest / "big1", b"mine")
    r = reader.run("get", "tree", dest, check=False)
    assert r.returncode == 5 and "big1" in r.stderr
    assert (dest / "big1").read_bytes() == b"mine"
    got = reader.json("get", "tree", dest, "--overwrite")
    assert got["trashed"] == 1
    assert_same(src, dest)
    trash = list(pathlib.Path(dest / ".weft" / "trash").rglob("big1"))
    assert len(trash) == 1 and trash[0].read_bytes() == b"mine"
