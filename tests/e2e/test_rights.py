"""What is granted can be done, what is taken away ends at once.  docs/threat-model.md, claim 8."""
import time

import pytest

from weft import DENIED, FAILED, PATIENCE, USAGE, assert_same, make_files, wait_until, write

SIZE = 8 << 20
SLOW = 2 << 20


@pytest.fixture
def shared(slow, tmp_path):
    """A share of `owner`, and `other`, who has no access yet."""
    slow.src = make_files(tmp_path / "src", SIZE)
    slow.owner = slow.agent("owner")
    slow.owner.json("publish", slow.src, "--share", "tree", "--policy", "central")
    slow.other = slow.agent("other")
    slow.dest = tmp_path / "dest"
    return slow


def rights(agent):
    return {s["share"]: s["rights"] for s in agent.json("shares")}


def test_each_right_gives_what_it_says(shared):
    other, server = shared.other, shared.server
    assert rights(other) == {} and rights(shared.owner) == {"tree": "write"}
    server.run("grant", "tree", "other", "read")
    assert rights(other) == {"tree": "read"}
    other.json("get", "tree", shared.dest)
    assert_same(shared.src, shared.dest)
    write(shared.dest / "new", b"new")
    other.fails(DENIED, "publish", shared.dest, "--share", "tree")
    server.run("grant", "tree", "other", "write")
    assert rights(other) == {"tree": "write"}
    assert other.json("publish", shared.dest, "--share", "tree")["snapshot"] == 2
    assert (shared.src / "new").exists() is False
    server.run("grant", "tree", "other", "read")
    assert rights(other) == {"tree": "read"}
    write(shared.dest / "newer", b"newer")
    other.fails(DENIED, "publish", shared.dest, "--share", "tree")
    server.run("ungrant", "tree", "other")
    assert rights(other) == {}


def test_a_device_is_named_by_its_name_its_id_or_the_beginning_of_it(shared):
    device = next(d["device"] for d in shared.server.json("devices") if d["name"] == "other")
    for name in ("other", device, device[:8], device.replace("-", "").upper()):
        shared.server.run("grant", "tree", name, "read")
        assert rights(shared.other) == {"tree": "read"}
        shared.server.run("ungrant", "tree", name)
        assert rights(shared.other) == {}


def test_what_cannot_be_granted_is_named(shared):
    server = shared.server
    assert "nobody-here" in server.fails(FAILED, "grant", "tree", "nobody-here", "read")
    assert "no-share" in server.fails(FAILED, "grant", "no-share", "other", "read")
    assert "other" in server.fails(FAILED, "ungrant", "tree", "other")
    server.fails(USAGE, "grant", "tree", "other", "execute")
    assert "server" in shared.other.fails(USAGE, "grant", "tree", "other", "read")


def test_access_for_all_is_for_those_to_come_too(shared):
    shared.server.run("grant", "tree", "--all", "read")
    later = shared.agent("later")
    assert rights(shared.other) == rights(later) == {"tree": "read"}
    shared.server.run("ungrant", "tree", "--all")
    assert rights(shared.other) == rights(later) == {}
    assert rights(shared.owner) == {"tree": "write"}


def test_taking_access_away_from_all_leaves_what_was_given_by_name(shared):
    shared.server.run("grant", "tree", "--all", "read")
    shared.server.run("grant", "tree", "other", "read")
    shared.server.run("ungrant", "tree", "--all")
    assert rights(shared.other) == {"tree": "read"}
    shared.other.json("get", "tree", shared.dest)
    assert_same(shared.src, shared.dest)


def test_access_taken_away_cuts_a_transfer_within_a_second(shared):
    shared.server.run("grant", "tree", "other", "read")
    shared.relay.rate = SLOW
    command = shared.other.begin("get", "tree", shared.dest)
    shared.other.wait_for_moved(SIZE // 8)
    shared.server.run("ungrant", "tree", "other")
    begun = time.monotonic()
    _, err = command.communicate(timeout=PATIENCE)
    took = time.monotonic() - begun
    assert command.returncode == DENIED, err
    assert "access" in err.splitlines()[-1]
    # a second, and what lies in the slow line's buffers
    assert took < 1 + 4 * (1 << 20) / SLOW
    before = shared.relay.down
    time.sleep(1)
    assert shared.relay.down - before < 1 << 20
    shared.other.wait_for_jobs()
    assert not any(p.name.startswith("part") for p in shared.dest.glob("*"))
    shared.relay.rate = None
    absent = shared.other.fails(FAILED, "get", "absent", shared.dest)
    assert shared.other.fails(FAILED, "get", "tree", shared.dest) == absent.replace("absent", "tree")


def test_access_taken_away_while_the_device_was_off_counts_when_it_is_back(shared):
    shared.server.run("grant", "tree", "other", "read")
    shared.relay.rate = SLOW
    command = shared.other.begin("get", "tree", shared.dest)
    shared.other.wait_for_moved()
    assert shared.other.stop() == 0
    command.communicate(timeout=PATIENCE)
    shared.server.run("ungrant", "tree", "other")
    shared.relay.rate = None
    shared.other.start()
    shared.other.wait_for_link()
    shared.other.wait_for_jobs()
    assert not any(p.name.startswith("part") for p in shared.dest.glob("*"))
    assert rights(shared.other) == {}


def test_a_writer_who_loses_the_right_in_the_middle_makes_no_head(shared, tmp_path):
    shared.server.run("grant", "tree", "other", "write")
    more = make_files(tmp_path / "more", SIZE, seed=7)
    shared.relay.rate = SLOW
    command = shared.other.begin("publish", more, "--share", "tree")
    shared.other.wait_for_moved()
    shared.server.run("ungrant", "tree", "other")
    shared.relay.rate = None
    _, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == DENIED, err
    shared.other.wait_for_jobs()
    time.sleep(0.5)
    assert [s["snapshot"] for s in shared.owner.json("snapshots", "tree") if s["state"] in ("kept", "head")] == [1]
    write(shared.src / "next", b"next")
    assert shared.owner.json("publish", shared.src, "--share", "tree")["snapshot"] == 2


def test_rights_survive_a_restart_of_everybody(shared):
    shared.server.run("grant", "tree", "other", "read")
    for node in (shared.server, shared.other, shared.owner):
        node.restart()
    shared.other.wait_for_link()
    assert rights(shared.other) == {"tree": "read"}
    shared.server.run("ungrant", "tree", "other")
    shared.server.kill()
    shared.server.start()
    shared.other.wait_for_link()
    wait_until("no right is left", lambda: shared.other.is_running() and
               shared.other.run("shares", check=False).returncode == 0 and rights(shared.other) == {})


def test_a_device_that_left_has_no_right_when_it_comes_back(shared):
    shared.server.run("grant", "tree", "other", "read")
    shared.other.run("leave")
    shared.other.run("join", shared.invite(), "--name", "other")
    shared.other.wait_for_link()
    assert rights(shared.other) == {}
