"""A share's policy: what it begins with, who changes it, who hears of it, what it outlasts."""
import sqlite3

import pytest

from weft import FAILED, USAGE, make_files, wait_until, write

POLICY = 8  # docs/format-statement.md


@pytest.fixture
def owned(net, tmp_path):
    net.src = make_files(tmp_path / "src", 1 << 20)
    net.owner = net.agent("owner")
    return net


def policies(agent):
    return {s["share"]: s["policy"] for s in agent.json("shares")}


def known(agent):
    """The policies in the POLICY statements that a stopped agent has kept, in the order of their issue."""
    db = sqlite3.connect(agent.home / "state.db")
    found = [bytes(b) for (b,) in db.execute("SELECT bytes FROM statement") if bytes(b)[1] == POLICY]
    db.close()
    # version, kind, authority 32, epoch 8, issued 8, expires 8, share 33, policy
    return [b[91] for b in sorted(found, key=lambda b: b[34:42][::-1] + b[42:50][::-1])]


def test_a_share_begins_as_its_publisher_says_and_goes_on_as_the_server_says(owned, tmp_path):
    owner, server = owned.owner, owned.server
    owner.json("publish", owned.src, "--share", "tree")
    owner.json("publish", owned.src, "--share", "private", "--policy", "central")
    assert policies(owner) == {"tree": "hybrid", "private": "central"}
    assert server.json("policy", "tree") == {"share": "tree", "policy": "hybrid"}
    assert server.run("policy", "private").stdout == "private is central\n"
    reader = owned.agent("reader", "--share", "tree:read")
    assert server.json("policy", "tree", "central") == {"share": "tree", "policy": "central"}
    assert policies(owner)["tree"] == policies(reader)["tree"] == "central"
    # the same again says nothing new
    assert server.json("policy", "tree", "central")["policy"] == "central"
    reader.stop()
    assert known(reader) == [1]
    server.run("policy", "tree", "hybrid")
    reader.start()
    reader.wait_for_link()
    reader.json("get", "tree", tmp_path / "dest")
    reader.stop()
    assert known(reader) == [1, 2]
    reader.start()


def test_a_policy_is_for_a_new_share_and_for_the_administrator(owned, tmp_path):
    owner, server = owned.owner, owned.server
    assert "central|hybrid" in owner.fails(USAGE, "publish", owned.src, "--share", "tree", "--policy", "serverless")
    owner.json("publish", owned.src, "--share", "tree", "--policy", "central")
    assert "weft policy tree hybrid" in owner.fails(USAGE, "publish", owned.src, "--share", "tree", "--policy", "hybrid")
    owner.json("publish", owned.src, "--share", "tree", "--policy", "central")
    assert "server" in owner.fails(USAGE, "policy", "tree", "hybrid")
    assert "no-share" in server.fails(FAILED, "policy", "no-share")
    server.fails(USAGE, "policy", "tree", "serverless")
    server.run("policy", "tree", "hybrid")
    # whoever is connected has heard of it
    owner.json("publish", owned.src, "--share", "tree", "--policy", "hybrid")


def test_a_policy_outlasts_restarts_and_a_new_key_and_not_its_share(owned, tmp_path):
    owner, server = owned.owner, owned.server
    owner.json("publish", owned.src, "--share", "tree")
    server.run("policy", "tree", "central")
    server.restart()
    assert server.json("policy", "tree")["policy"] == "central"
    assert server.stop() == 0
    usual = list(server.arguments)
    server.start(*usual, "--recover", server.home / "recovery.key")
    server.arguments = usual
    assert server.json("policy", "tree")["policy"] == "central"
    device = server.json("status")["device"]
    wait_until("owner follows", lambda: (s := owner.json("status"))["server_device"] == device and s["connected"])
    # it heard what the new key says of it
    assert owner.json("publish", owned.src, "--share", "tree", "--policy", "central")["unchanged"]
    server.run("rm", "tree")
    write(owned.src / "more", b"more")
    owner.json("publish", owned.src, "--share", "tree")
    assert server.json("policy", "tree")["policy"] == "hybrid"
