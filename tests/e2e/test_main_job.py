"""The main job: publish a folder on one machine, have it on others, every byte verified."""
import json
import os
import pathlib
import random

from weft import LONG, PATIENCE, assert_same, hidden_left, make_tree, noise, snapshot_of, write


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
        assert {s["name"] for s in got["sources"]} <= {"spine", "publisher", "a", "b"}
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


def make_large_tree(root, files):
    """Many small files, odd names, deep paths, and a sparse file of 2 GiB with a few islands of data."""
    rng = random.Random(3)
    make_tree(root, seed=3, files=50, big=2)
    for i in range(files):
        write(root / "many" / f"{i % 37:02}" / f"{i:06}.txt", noise(rng, rng.randrange(4000)),
              mtime_ns=1_600_000_000_000_000_000 + i * 1_000_003)
    deep = root / "/".join(f"level {i}" for i in range(150))
    write(deep / "bottom", b"far down")
    with open(root / "sparse", "wb") as f:
        f.truncate(2 << 30)
        for at in (0, 700_000_001, (1 << 30) + 65536, (2 << 30) - 100):
            f.seek(at)
            f.write(noise(rng, 100))
    return root


def test_many_files_and_a_sparse_one_on_three_agents_at_once(net, tmp_path):
    """The size that the issue names: 5,000 small files (WEFT_LONG=1: 50,000)."""
    files = 50_000 if LONG else 5_000
    src = make_large_tree(tmp_path / "src", files)
    publisher = net.agent("publisher")
    row = publisher.json("publish", src, "--share", "tree")
    assert row["files"] >= files and row["bytes"] > 2 << 30
    again = publisher.json("publish", src, "--share", "tree")
    assert again["unchanged"] and again["files_read"] == 0
    net.server.run("grant", "tree", "--all", "read")
    agents = [net.agent(name) for name in "abc"]
    commands = [a.begin("get", "tree", tmp_path / f"dest-{a.name}", "--json") for a in agents]
    there = snapshot_of(src)
    kinds = [what[0] for what in there.values()]
    assert row["files"] == kinds.count("file")
    for agent, command in zip(agents, commands):
        out, err = command.communicate(timeout=PATIENCE * 5)
        assert command.returncode == 0, err
        got = json.loads(out)
        assert got["files"] == kinds.count("file")
        assert got["bytes_fetched"] <= row["bytes_new"]
        dest = tmp_path / f"dest-{agent.name}"
        assert snapshot_of(dest) == there
        assert (dest / "sparse").stat().st_blocks * 512 < 16 << 20
        assert not hidden_left(dest)
    assert agents[0].json("verify", "tree")["differences"] == 0
