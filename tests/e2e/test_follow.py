"""A get that stays: each new snapshot arrives by itself; and gets that go on while the server is away."""
import json
import os
import signal
import sqlite3
import time

from weft import (FAILED, INTERRUPTED, PATIENCE, USAGE, assert_same, hidden_left, make_files, snapshot_of, wait_until, write)

SIZE = 8 << 20
SLOW = 4 << 20
GRANT, HEAD = 4, 6  # docs/format-statement.md


def published(net, tmp_path, total=1 << 20, policy="hybrid"):
    """A share `tree` that everybody may read; gives where it comes from, who publishes it, and a reader.

    Of a central one every byte goes over the line to the server, which can be slowed down."""
    src = make_files(tmp_path / "src", total)
    publisher = net.agent("publisher")
    publisher.json("publish", src, "--share", "tree", "--policy", policy)
    net.server.run("grant", "tree", "--all", "read")
    return src, publisher, net.agent("reader")


def change(src, publisher, name, data=b"new"):
    write(src / name, data)
    return publisher.json("publish", src, "--share", "tree")["snapshot"]


def wait_for_snapshot(reader, n):
    wait_until(f"it follows, at {n}", lambda: reader.job().get("text", "").startswith(f"following, at snapshot {n}"))


def same(a, b):
    return snapshot_of(a) == snapshot_of(b)


def test_each_new_snapshot_arrives_by_itself(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    assert_same(src, tmp_path / "dest")
    for n in (2, 3, 4):
        assert change(src, publisher, f"more{n}") == n
        if n == 3:
            os.unlink(src / "more2")
        wait_for_snapshot(reader, n)
        wait_until("it is there", lambda n=n: (tmp_path / "dest" / f"more{n}").exists())
    assert change(src, publisher, "last") == 5
    wait_for_snapshot(reader, 5)
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")
    job = reader.job()
    assert job["state"] == "waiting" and job["kind"] == "get"
    reader.run("cancel", job["job"])
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == FAILED and "cancelled" in err
    told = [line.split(" ")[0] for line in out.splitlines() if " is in " in line]
    assert told == [f"tree@{n}" for n in (1, 2, 3, 4, 5)]
    reader.wait_for_jobs()
    change(src, publisher, "later")
    time.sleep(0.5)
    assert not (tmp_path / "dest" / "later").exists()


def test_json_is_one_value_with_all_snapshots(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow", "--json")
    wait_for_snapshot(reader, 1)
    change(src, publisher, "two", b"22")
    wait_for_snapshot(reader, 2)
    reader.run("cancel", reader.job()["job"])
    out, _ = command.communicate(timeout=PATIENCE)
    value = json.loads(out)
    assert [s["snapshot"] for s in value["snapshots"]] == [1, 2]
    assert [s["files"] for s in value["snapshots"]] == [4, 5]
    assert value["snapshots"][1]["bytes_fetched"] == 2
    assert value["snapshots"][0]["dest"] == str(tmp_path / "dest")


def test_it_outlives_the_command_and_restarts(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    job = reader.job()["job"]
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == INTERRUPTED and f"weft cancel {job}" in err
    change(src, publisher, "two")
    wait_for_snapshot(reader, 2)
    reader.kill()
    change(src, publisher, "three")
    change(src, publisher, "four")
    reader.start()
    wait_for_snapshot(reader, 4)
    assert reader.job()["job"] == job
    assert_same(src, tmp_path / "dest")
    change(src, publisher, "five")
    wait_for_snapshot(reader, 5)
    assert_same(src, tmp_path / "dest")


def test_it_waits_for_the_server_and_says_so(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    net.server.stop()
    wait_until("it says so", lambda: reader.job()["text"] == "following, at snapshot 1; the server is not reachable; "
               "goes on when it is back")
    reader.restart()
    command.communicate(timeout=PATIENCE)
    wait_until("it says so", lambda: "following, at snapshot 1; the server" in reader.job().get("text", ""))
    net.server.start()
    publisher.wait_for_link()
    change(src, publisher, "two")
    wait_for_snapshot(reader, 2)
    assert_same(src, tmp_path / "dest")


def test_what_is_newer_replaces_what_is_being_fetched(slow, tmp_path):
    src, publisher, reader = published(slow, tmp_path, SIZE, "central")
    slow.relay.rate = SLOW
    begun = slow.relay.down
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    reader.wait_for_moved(SIZE // 2)
    slow.relay.rate = SLOW // 32  # the rest takes half a minute: publishing is quicker, on a busy machine too
    change(src, publisher, "more", b"more")
    slow.relay.rate = SLOW
    wait_for_snapshot(reader, 2)
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")
    assert slow.relay.down - begun < SIZE * 1.4  # what had come counts
    reader.run("cancel", reader.job()["job"])
    out, _ = command.communicate(timeout=PATIENCE)
    assert [line.split(" ")[0] for line in out.splitlines() if " is in " in line] == ["tree@2"]


def test_cancelled_in_the_middle_it_leaves_what_was_there(slow, tmp_path):
    src, publisher, reader = published(slow, tmp_path, policy="central")
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    before = snapshot_of(tmp_path / "dest")
    slow.relay.rate = SLOW
    make_files(src / "big", SIZE, seed=2)
    publisher.run("publish", src, "--share", "tree")
    job = reader.wait_for_moved(SIZE // 8)["job"]
    reader.run("cancel", job)
    command.communicate(timeout=PATIENCE)
    reader.wait_for_jobs()
    assert snapshot_of(tmp_path / "dest") == before
    assert not hidden_left(tmp_path / "dest")


def test_a_pause_lasts_until_it_is_resumed(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    job = reader.job()["job"]
    reader.run("pause", job)
    wait_until("it is paused", lambda: reader.job()["state"] == "paused")
    change(src, publisher, "two")
    time.sleep(0.5)
    assert not (tmp_path / "dest" / "two").exists()
    reader.run("resume", job)
    wait_for_snapshot(reader, 2)
    assert_same(src, tmp_path / "dest")


def test_a_late_joiner_gets_what_there_is_and_what_comes(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    change(src, publisher, "two")
    late = net.agent("late")
    late.begin("get", "tree", tmp_path / "late", "--follow")
    wait_for_snapshot(late, 2)
    reader.begin("get", "tree", tmp_path / "dest", "--follow", "--path", "part1")
    wait_for_snapshot(reader, 2)
    change(src, publisher, "part1", b"other")
    wait_for_snapshot(late, 3)
    wait_for_snapshot(reader, 3)
    assert_same(src, tmp_path / "late")
    assert (tmp_path / "dest" / "part1").read_bytes() == b"other"


def test_one_snapshot_is_not_followed(net, tmp_path):
    _, _, reader = published(net, tmp_path)
    assert "--follow takes the newest" in reader.fails(USAGE, "get", "tree@1", tmp_path / "dest", "--follow")


def test_a_get_goes_on_while_the_server_is_away_as_far_as_it_can(slow, tmp_path):
    src, publisher, reader = published(slow, tmp_path, SIZE, "central")
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved(SIZE // 2)
    reader.kill()
    command.communicate(timeout=PATIENCE)
    slow.server.stop()
    reader.start()
    # The plan is there without the server, and so is what had come.
    wait_until("it knows what it gets", lambda: reader.job().get("total") == SIZE and reader.job().get("done", 0) > 0)
    wait_until("it says what it waits for", lambda: "the server is not reachable" in reader.job().get("text", ""))
    slow.relay.rate = None
    slow.server.start()
    reader.wait_for_jobs()
    assert reader.json("jobs")[-1]["state"] == "done" and reader.json("jobs")[-1]["job"] == job["job"]
    assert_same(src, tmp_path / "dest")


def test_a_get_with_all_its_bytes_here_ends_without_the_server(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    reader.run("get", "tree", tmp_path / "one")
    command = reader.begin("get", "tree", tmp_path / "two", "--follow")
    wait_for_snapshot(reader, 1)
    reader.kill()
    command.communicate(timeout=PATIENCE)
    net.server.stop()
    os.unlink(tmp_path / "two" / "part1")
    reader.start()
    wait_until("it is made whole", lambda: same(src, tmp_path / "two"))


def limited(net, name, rate):
    a = net.agent(name, start=False)
    return a.start("agent", "--listen", "127.0.0.1:0", "--name", name, "--up-limit", rate)


def slow_publisher(net, tmp_path, rate="32Mbit"):
    src = make_files(tmp_path / "src", 1 << 20)
    publisher = limited(net, "publisher", rate)
    publisher.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "--all", "read")
    return src, publisher, net.agent("reader")


def announce(src, publisher):
    """24 MiB, which take six seconds at least at 32Mbit; gives the id."""
    make_files(src / "new", 24 << 20, seed=3)
    return publisher.json("publish", src, "--share", "tree", "--no-wait")["id"]


def test_a_get_of_what_is_withdrawn_ends_and_says_why(net, tmp_path):
    src, publisher, reader = slow_publisher(net, tmp_path)
    reader.run("get", "tree", tmp_path / "dest")
    before = snapshot_of(tmp_path / "dest")
    lost = announce(src, publisher)
    command = reader.begin("get", f"tree@{lost}", tmp_path / "dest")
    reader.wait_for_moved(2 << 20)
    os.unlink(src / "new" / "part3")
    _, err = command.communicate(timeout=PATIENCE)
    said = err.splitlines()[-1]
    assert command.returncode == FAILED
    assert "was withdrawn before all of it was here" in said and "new/part3" in said
    assert snapshot_of(tmp_path / "dest") == before
    assert not hidden_left(tmp_path / "dest")


def test_who_follows_goes_on_with_what_replaces_the_withdrawn(net, tmp_path):
    src, publisher, reader = slow_publisher(net, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow", "--json")
    wait_for_snapshot(reader, 1)
    announce(src, publisher)
    reader.wait_for_moved(8 << 20)
    os.unlink(src / "new" / "part3")
    wait_for_snapshot(reader, 2)
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")
    reader.run("cancel", reader.job()["job"])
    out, err = command.communicate(timeout=PATIENCE)
    assert "was withdrawn" in err
    first, second = json.loads(out)["snapshots"]
    assert first["snapshot"] == 1
    assert second["bytes_fetched"] < 15 << 20  # of 18 MiB: what had come counts


def test_what_is_announced_is_planned_at_once_and_ends_when_it_is_the_head(slow, tmp_path):
    src, publisher, reader = published(slow, tmp_path)
    reader.run("get", "tree", tmp_path / "dest")
    slow.relay.rate = 1 << 20
    make_files(src / "new", 4 << 20, seed=3)
    announced = publisher.json("publish", src, "--share", "tree", "--no-wait")["id"]
    assert reader.json("get", f"tree@{announced}", tmp_path / "dest")["id"] == announced
    assert_same(src, tmp_path / "dest")


def test_of_grants_and_heads_the_last_is_kept(net, tmp_path):
    src, publisher, reader = published(net, tmp_path)
    reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    for n in (2, 3):
        change(src, publisher, f"more{n}")
        wait_for_snapshot(reader, n)
    reader.restart()
    wait_until("it has asked again", lambda: reader.json("status").get("connected"))
    reader.stop()
    db = sqlite3.connect(reader.home / "state.db")
    kinds = [bytes(b)[1] for (b,) in db.execute("SELECT bytes FROM statement")]
    db.close()
    assert sorted(k for k in kinds if k in (GRANT, HEAD)) == [GRANT, HEAD], kinds


def test_what_was_announced_while_it_was_away_is_taken_before_it_is_the_head(net, tmp_path):
    src, publisher, reader = slow_publisher(net, tmp_path, "16Mbit")
    reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    reader.stop()
    announce(src, publisher)
    wait_until("it can be had", lambda: publisher.job().get("done", 0) > 0)
    reader.start()
    reader.wait_for_moved()
    assert publisher.json("shares")[0]["snapshot"] == 1
    wait_for_snapshot(reader, 2)
    assert_same(src, tmp_path / "dest")


# -- with members ---------------------------------------------------------------------------------------------------------

def test_what_is_announced_comes_from_its_publisher_before_the_server_has_it(slow, tmp_path):
    src, publisher, reader = published(slow, tmp_path)
    command = reader.begin("get", "tree", tmp_path / "dest", "--follow")
    wait_for_snapshot(reader, 1)
    slow.relay.rate = 4 << 20
    make_files(src / "new", 48 << 20, seed=3)
    publisher.json("publish", src, "--share", "tree", "--no-wait")
    wait_until("it is there", lambda: reader.job().get("text") == "following, at a snapshot that is announced")
    assert reader.json("shares")[0]["snapshot"] == 1
    assert_same(src, tmp_path / "dest")
    slow.relay.rate = None
    wait_for_snapshot(reader, 2)
    reader.run("cancel", reader.job()["job"])
    out, _ = command.communicate(timeout=PATIENCE)
    assert [line.split(" ")[0] for line in out.splitlines() if " is in " in line] == ["tree@1", "tree"]


def test_a_get_goes_on_from_members_after_a_restart_without_the_server(net, tmp_path):
    src = make_files(tmp_path / "src", 24 << 20)
    publisher = limited(net, "publisher", "64Mbit")
    publisher.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "--all", "read")
    reader = net.agent("reader")
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved(4 << 20)["job"]
    reader.kill()
    command.communicate(timeout=PATIENCE)
    net.server.stop()
    reader.start()
    reader.wait_for_jobs()
    assert not net.server.is_running()
    over = reader.json("jobs")[-1]
    assert (over["job"], over["state"]) == (job, "done")
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")
