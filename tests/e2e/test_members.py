"""Who becomes a member and how that ends: by the device itself, or by the administrator.  docs/threat-model.md, claim 8."""
import time

import pytest

import wire
from weft import DENIED, FAILED, PATIENCE, USAGE, Net, Node, make_files, wait_until, write
from wire import Closed, Key, Wire

SIZE = 8 << 20
SLOW = 2 << 20


def rights(agent):
    return {s["share"]: s["rights"] for s in agent.json("shares")}


def online(net):
    return net.server.json("status")["online"]


def line_of(net, node, tmp_path):
    """A connection of our own with NODE's key."""
    w = Wire.dial(net.port, Key(tmp_path / f"key-{node.name}", pem=node.home / "device.key"))
    w.hello()
    return w


# -- the administrator ends a membership ----------------------------------------------------------------------------------

@pytest.fixture
def tree(slow, tmp_path):
    """A share, and `other` who may read it."""
    slow.src = make_files(tmp_path / "src", SIZE)
    slow.owner = slow.agent("owner")
    slow.owner.json("publish", slow.src, "--share", "tree", "--policy", "central")
    slow.other = slow.agent("other", "--share", "tree:read")
    slow.dest = tmp_path / "dest"
    return slow


def test_the_administrator_ends_a_membership_and_may_begin_it_again(tree):
    other, server = tree.other, tree.server
    assert rights(other) == {"tree": "read"}
    server.run("leave", "other")
    wait_until("the device is told why", lambda: "membership" in other.json("status").get("why", ""))
    status = other.json("status")
    assert status["connected"] is False and "new invite" in status["why"]
    assert "other" not in [d["name"] for d in server.json("devices")]
    assert "new invite" in other.fails(DENIED, "get", "tree", tree.dest)
    other.restart()
    assert "new invite" in other.json("status")["why"]
    other.run("join", tree.invite(), "--name", "other")
    other.wait_for_link()
    assert rights(other) == {}
    server.run("grant", "tree", "other", "read")
    other.json("get", "tree", tree.dest)


def test_a_membership_that_ends_cuts_a_transfer_within_a_second(tree):
    tree.relay.rate = SLOW
    command = tree.other.begin("get", "tree", tree.dest)
    tree.other.wait_for_moved(SIZE // 8)
    tree.server.run("leave", "other")
    begun = time.monotonic()
    _, err = command.communicate(timeout=PATIENCE)
    took = time.monotonic() - begun
    assert command.returncode == DENIED and "membership" in err.splitlines()[-1], err
    assert took < 1 + 4 * (1 << 20) / SLOW
    before = tree.relay.down
    time.sleep(1)
    assert tree.relay.down - before < 1 << 20
    tree.other.wait_for_jobs()


def test_a_membership_that_ended_while_the_device_was_off_is_told_when_it_is_back(tree):
    assert tree.other.stop() == 0
    tree.server.run("leave", "other")
    tree.server.restart()
    tree.other.start()
    wait_until("the device is told why", lambda: "no longer a member" in tree.other.json("status").get("why", ""))
    assert "join again" in tree.other.json("status")["why"]
    tree.other.run("join", tree.invite(), "--name", "other")
    tree.other.wait_for_link()
    assert rights(tree.other) == {}


def test_what_a_device_had_announced_goes_with_its_membership(tree, tmp_path):
    tree.server.run("grant", "tree", "other", "write")
    more = make_files(tmp_path / "more", SIZE, seed=7)
    tree.relay.rate = SLOW
    command = tree.other.begin("publish", more, "--share", "tree")
    tree.other.wait_for_moved()
    tree.server.run("leave", "other")
    tree.relay.rate = None
    _, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == DENIED, err
    assert [s["snapshot"] for s in tree.owner.json("snapshots", "tree") if s["state"] == "kept"] == [1]
    write(tree.src / "next", b"next")
    assert tree.owner.json("publish", tree.src, "--share", "tree")["snapshot"] == 2


def test_only_the_administrator_ends_the_membership_of_others(tree):
    assert "server" in tree.other.fails(USAGE, "leave", "owner")
    assert "itself" in tree.server.fails(USAGE, "leave")
    assert "itself" in tree.server.fails(USAGE, "leave", "spine")
    assert "nobody-here" in tree.server.fails(FAILED, "leave", "nobody-here")
    assert rights(tree.other) == {"tree": "read"}


# -- a device ends its own ------------------------------------------------------------------------------------------------

def test_when_a_device_leaves_all_its_connections_end(net, tmp_path):
    """Each alone is harmless; the second LEAVE was of a device that the server no longer knew."""
    mute = net.agent("mute", start=False)
    one, two = line_of(net, mute, tmp_path), line_of(net, mute, tmp_path)
    assert one.ask_one(wire.LEAVE, {})[0] == wire.OK
    one.until_closed()
    with pytest.raises(Closed):
        two.ask_one(wire.LEAVE, {})
        two.ask_one(wire.QUERY, {1: b"\1"})
    assert "mute" not in [d["name"] for d in net.server.json("devices")]
    wait_until("only the server itself is online", lambda: online(net) == 1)


def test_asking_to_leave_twice_at_once_is_leaving_once(net, tmp_path):
    mute = net.agent("mute", start=False)
    w = line_of(net, mute, tmp_path)
    w.send(wire.LEAVE, {}, 1)
    w.send(wire.LEAVE, {}, 3)
    kinds = [f[0] for f in w.until_closed()]
    assert kinds.count(wire.OK) == 1, kinds
    assert "mute" not in [d["name"] for d in net.server.json("devices")]


def test_who_is_connected_is_counted_right_after_leaving_and_joining_again(net, tmp_path):
    mute = net.agent("mute", start=False)
    w = line_of(net, mute, tmp_path)
    assert online(net) == 2
    assert w.ask_one(wire.LEAVE, {})[0] == wire.OK
    w.until_closed()
    wait_until("it is gone", lambda: online(net) == 1)
    mute.run("join", net.invite(), "--name", "mute")
    wait_until("the joining has ended", lambda: online(net) == 1)
    w = line_of(net, mute, tmp_path)
    assert online(net) == 2
    w.close()
    wait_until("it is gone again", lambda: online(net) == 1)


# -- invites --------------------------------------------------------------------------------------------------------------

def test_a_member_that_uses_one_more_invite_gets_what_it_gives(net, tmp_path):
    src = make_files(tmp_path / "src", 1 << 20)
    owner, other = net.agent("owner"), net.agent("other")
    owner.json("publish", src, "--share", "tree")
    other.run("join", net.invite("--share", "tree:read"), "--name", "other")
    other.wait_for_link()
    other.json("get", "tree", tmp_path / "dest")
    wait_until("each is counted once", lambda: online(net) == 3)
    assert other.stop() == 0
    wait_until("it is gone", lambda: online(net) == 2)


def test_many_join_at_once_with_one_invite(net, tmp_path):
    owner = net.agent("owner")
    owner.json("publish", make_files(tmp_path / "src", 1 << 20), "--share", "tree")
    n = 6
    invite = net.invite("--uses", str(n), "--share", "tree:read")
    joiners = [Node(tmp_path, f"joiner{i}") for i in range(n)]
    commands = [j.begin("join", invite, "--name", j.name) for j in joiners]
    for c in commands:
        _, err = c.communicate(timeout=PATIENCE)
        assert c.returncode == 0, err
    names = {d["name"] for d in net.server.json("devices")}
    assert {j.name for j in joiners} <= names
    Node(tmp_path, "late").fails(DENIED, "join", invite)


def test_an_invite_outlives_its_share(net, tmp_path):
    """A share that is removed between an invite and its use is no part of it, also not in the database."""
    owner = net.agent("owner")
    owner.json("publish", make_files(tmp_path / "src", 1 << 20), "--share", "tree")
    invite = net.invite("--share", "tree:read")
    net.server.run("rm", "tree")
    joiner = Node(tmp_path, "joiner")
    net.nodes.append(joiner)
    joiner.run("join", invite, "--name", "joiner")
    net.server.restart()
    joiner.start("agent", "--listen", "127.0.0.1:0")
    joiner.wait_for_link()
    assert rights(joiner) == {}


def test_a_server_that_listens_on_one_address_invites_to_it(tmp_path):
    """Other addresses of the machine would lead nowhere."""
    server, agent = Node(tmp_path, "server"), Node(tmp_path, "agent")
    server.start("server", "--listen", "127.0.0.1:0", "--name", "spine")
    try:
        agent.run("join", server.json("invite")["invite"], "--name", "agent")
        assert "agent" in [d["name"] for d in server.json("devices")]
    finally:
        server.stop()
