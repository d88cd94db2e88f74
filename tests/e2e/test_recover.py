"""The authority's key is lost or stolen: its recovery key names a new one, and everybody goes on.  docs/threat-model.md, claim 9."""
import shutil

import pytest

import wire
from weft import DENIED, FAILED, Node, assert_same, make_files, wait_until, write
from wire import Key

SIZE = 8 << 20
SLOW = 2 << 20


def device_of(net):
    return net.server.json("status")["device"]


def recover(net, *more, key=None):
    """Starts the stopped server with a new key; gives its device id."""
    usual = list(net.server.arguments)
    net.server.start(*usual, "--recover", key or net.server.home / "recovery.key", *more)
    net.server.arguments = usual
    return device_of(net)


def wait_for_new_key(agent, device):
    wait_until(f"{agent.name} follows", lambda: (s := agent.json("status"))["server_device"] == device and s["connected"])


@pytest.fixture
def tree(slow, tmp_path):
    slow.src = make_files(tmp_path / "src", SIZE)
    slow.publisher = slow.agent("publisher")
    slow.publisher.json("publish", slow.src, "--share", "tree", "--policy", "central")
    slow.reader = slow.agent("reader", "--share", "tree:read")
    slow.reader.json("get", "tree", tmp_path / "dest")
    slow.recovery = tmp_path / "carried-away.key"
    shutil.move(slow.server.home / "recovery.key", slow.recovery)
    return slow


@pytest.mark.parametrize("lost", [False, True], ids=["stolen", "lost"])
def test_members_follow_to_the_new_key_and_nothing_is_sent_again(tree, tmp_path, lost):
    old, old_invite = device_of(tree), tree.invite()
    off = tree.agent("off", "--share", "tree:read")
    assert off.stop() == 0
    assert tree.server.stop() == 0
    if lost:
        (tree.server.home / "device.key").unlink()
    before = tree.relay.up + tree.relay.down
    new = recover(tree, key=tree.recovery)
    assert new != old
    for agent in (tree.publisher, tree.reader):
        wait_for_new_key(agent, new)
    assert {s["share"]: s["rights"] for s in tree.reader.json("shares")} == {"tree": "read"}
    assert tree.reader.json("get", "tree", tmp_path / "dest")["bytes_fetched"] == 0
    assert tree.publisher.json("publish", tree.src, "--share", "tree")["unchanged"]
    assert tree.relay.up + tree.relay.down - before < SIZE // 4
    # and the next snapshot follows the one before
    write(tree.src / "more", b"more")
    assert tree.publisher.json("publish", tree.src, "--share", "tree")["snapshot"] == 2
    tree.reader.json("get", "tree", tmp_path / "dest")
    assert_same(tree.src, tmp_path / "dest")
    tree.reader.json("get", "tree@1", tmp_path / "first")
    # who was off, everybody after a restart, and who comes new
    off.start()
    wait_for_new_key(off, new)
    for node in (tree.server, tree.reader, tree.publisher):
        node.restart()
    assert device_of(tree) == new
    wait_for_new_key(tree.reader, new)
    assert tree.reader.json("verify", "tree")["differences"] == 0
    late = tree.agent("late", "--share", "tree:read")
    late.wait_for_link()
    late.json("get", "tree", tmp_path / "late")
    assert_same(tree.src, tmp_path / "late")
    late.restart()
    late.wait_for_link()
    said = Node(tmp_path, "outdated").fails(DENIED, "join", old_invite)
    assert "who answers is" in said


def test_a_transfer_goes_on_after_the_recovery(tree, tmp_path):
    more = make_files(tmp_path / "more", SIZE, seed=3)
    tree.relay.rate = SLOW
    command = tree.publisher.begin("publish", more, "--share", "more")
    tree.publisher.wait_for_moved(SIZE // 2)
    assert tree.server.stop() == 0
    tree.relay.rate = None
    before = tree.relay.up
    recover(tree, key=tree.recovery)
    _, err = command.communicate(timeout=120)
    assert command.returncode == 0, err
    assert tree.relay.up - before < SIZE * 3 // 4
    assert tree.publisher.json("shares")


def test_the_servers_own_agent_keeps_its_shares(net, tmp_path):
    src = make_files(tmp_path / "src", 1 << 20)
    net.server.json("publish", src, "--share", "own")
    assert net.server.stop() == 0
    recover(net)
    write(src / "more", b"more")
    assert net.server.json("publish", src, "--share", "own")["snapshot"] == 2
    assert net.server.json("verify", "own")["differences"] == 0
    assert [d["name"] for d in net.server.json("devices")] == ["spine"]


def test_only_the_recovery_key_can(tree, tmp_path):
    old = device_of(tree)
    assert tree.server.stop() == 0
    other = Key(tmp_path / "other")
    command = [*tree.server.arguments, "--recover"]
    assert "recovery key" in tree.server.fails(DENIED, *command, other.pem)
    assert "absent" in tree.server.fails(FAILED, *command, tmp_path / "absent")
    assert "server's home" in Node(tmp_path, "empty-home").fails(FAILED, *command, tree.recovery)
    tree.server.start()
    assert device_of(tree) == old
    tree.reader.wait_for_link()


def test_while_it_runs_a_server_is_not_recovered(tree):
    tree.server.fails(FAILED, *tree.server.arguments, "--recover", tree.recovery)
    tree.reader.wait_for_link()


def test_a_key_that_is_not_the_authoritys_starts_nothing(tree, tmp_path):
    assert tree.server.stop() == 0
    shutil.copy(Key(tmp_path / "other").pem, tree.server.home / "device.key")
    assert "--recover" in tree.server.fails(DENIED, *tree.server.arguments)


def test_who_only_claims_to_be_the_server_learns_nothing_and_is_not_followed(tree, tmp_path):
    """Somebody at its address, with an authority of his own: he is looked at once, by nobody in particular."""
    assert tree.server.stop() == 0
    member = tree.reader.json("status")["device"].replace("-", "")
    false = Node(tmp_path, "false-server")
    tree.nodes.append(false)
    false.start("server", *tree.server.arguments[1:5])
    wait_until("the reader says why", lambda: "who answers is" in tree.reader.json("status").get("why", ""))
    assert tree.reader.json("status")["server_device"] != false.json("status")["device"]
    assert member not in false.tail(1 << 20).replace("-", "")
    assert "reader" not in false.tail(1 << 20)
    assert false.stop() == 0
    tree.server.start()
    tree.reader.restart()
    tree.reader.wait_for_link()
