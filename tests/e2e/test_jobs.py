"""Transfers as jobs: they belong to the daemon, not to the command; they pause, go on, end, and survive restarts."""
import json
import os
import signal
import time

from weft import (DENIED, DONE, FAILED, INTERRUPTED, PATIENCE, assert_same, hidden_left, make_files, make_tree, one_line,
                  snapshot_of, wait_until, write)

SIZE = 8 << 20
SLOW = 4 << 20  # bytes a second: SIZE takes two seconds


def published(net, tmp_path, total=SIZE):
    """A share `tree` of TOTAL bytes that everybody may read; gives where it came from, and a reader."""
    src = make_files(tmp_path / "src", total)
    net.agent("publisher").json("publish", src, "--share", "tree", "--policy", "central")
    net.server.run("grant", "tree", "--all", "read")
    return src, net.agent("reader")


def ended(command, status=DONE):
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == status, err
    return out, err


def test_a_paused_get_stands_still_and_goes_on_where_it_was(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    begun = slow.relay.down
    command = reader.begin("get", "tree", tmp_path / "dest", "--json")
    job = reader.wait_for_moved(SIZE // 8)["job"]
    reader.run("pause", job)
    wait_until("it is paused", lambda: reader.job()["state"] == "paused")
    time.sleep(0.5)
    at = slow.relay.down
    time.sleep(0.5)
    assert slow.relay.down - at < 64 << 10
    assert reader.job()["state"] == "paused"
    assert not any(p.is_file() and not p.name.startswith(".weft") for p in (tmp_path / "dest").glob("part*"))
    slow.relay.rate = None
    reader.run("resume", job)
    out, _ = ended(command)
    assert json.loads(out)["files"] == 4
    assert slow.relay.down - begun < SIZE * 1.5 + SLOW
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")


def test_a_paused_job_stays_paused_over_a_restart(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved()["job"]
    reader.run("pause", job)
    wait_until("it is paused", lambda: reader.job()["state"] == "paused")
    reader.restart()
    command.communicate(timeout=PATIENCE)
    slow.relay.rate = None
    reader.wait_for_link()
    assert reader.job() == {**reader.job(), "job": job, "state": "paused"}
    time.sleep(0.5)
    assert reader.job()["state"] == "paused"
    reader.run("resume", job)
    reader.wait_for_jobs()
    assert_same(src, tmp_path / "dest")


def test_a_cancelled_get_leaves_what_was_there_and_nothing_of_its_own(slow, tmp_path):
    _, reader = published(slow, tmp_path)
    write(tmp_path / "dest" / "mine", b"mine")
    before = snapshot_of(tmp_path / "dest")
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved(SIZE // 8)["job"]
    reader.run("cancel", job)
    _, err = ended(command, FAILED)
    assert "cancelled" in err
    reader.wait_for_jobs()
    wait_until("the staged files are gone", lambda: not hidden_left(tmp_path / "dest"))
    assert snapshot_of(tmp_path / "dest") == before
    assert not list((reader.home / "jobs").iterdir())
    assert str(job) in reader.fails(FAILED, "cancel", job)
    assert str(job) in reader.fails(FAILED, "pause", job)


def test_a_cancelled_publish_is_never_the_head(slow, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    publisher = slow.agent("publisher")
    slow.relay.rate = SLOW
    command = publisher.begin("publish", src, "--share", "tree")
    job = publisher.wait_for_moved()["job"]
    publisher.run("cancel", job)
    ended(command, FAILED)
    slow.relay.rate = None
    publisher.wait_for_jobs()
    assert all(s["state"] != "kept" and s["state"] != "head" for s in publisher.json("snapshots", "tree"))
    row = publisher.json("publish", src, "--share", "tree")
    assert row["snapshot"] == 1
    publisher.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")


def test_a_publish_that_is_paused_goes_on(slow, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    publisher = slow.agent("publisher")
    slow.relay.rate = SLOW
    command = publisher.begin("publish", src, "--share", "tree", "--json")
    job = publisher.wait_for_moved()["job"]
    publisher.run("pause", job)
    wait_until("it is paused", lambda: publisher.job()["state"] == "paused")
    slow.relay.rate = None
    publisher.run("resume", job)
    out, _ = ended(command)
    assert json.loads(out)["snapshot"] == 1


def test_ctrl_c_detaches_and_the_transfer_goes_on(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved()["job"]
    command.send_signal(signal.SIGINT)
    _, err = ended(command, INTERRUPTED)
    last = err.splitlines()[-1]
    assert f"weft cancel {job}" in last and "goes on" in last
    assert reader.job()["job"] == job
    slow.relay.rate = None
    reader.wait_for_jobs()
    assert_same(src, tmp_path / "dest")


def test_a_command_line_that_is_killed_ends_nothing(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    command.kill()
    command.communicate(timeout=PATIENCE)
    slow.relay.rate = None
    reader.wait_for_jobs()
    assert_same(src, tmp_path / "dest")


def test_a_clean_stop_and_start_goes_on_by_itself(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    begun = slow.relay.down
    command = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved(SIZE // 4)
    reader.restart()
    _, err = ended(command, FAILED)
    assert "goes on" in err.splitlines()[-1]
    slow.relay.rate = None
    reader.wait_for_jobs()
    assert slow.relay.down - begun < SIZE + 2 * SLOW
    assert_same(src, tmp_path / "dest")
    assert not hidden_left(tmp_path / "dest")


def test_a_cut_line_is_waited_for(slow, tmp_path):
    src, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    begun = slow.relay.down
    command = reader.begin("get", "tree", tmp_path / "dest", "--json")
    for n in range(1, 4):
        reader.wait_for_moved(n * SIZE // 5)
        slow.relay.cut()
    slow.relay.rate = None
    ended(command)
    assert slow.relay.down - begun < SIZE + 3 * SLOW
    assert_same(src, tmp_path / "dest")


def test_a_get_begun_while_the_server_is_away_waits_for_it(net, tmp_path):
    src, reader = published(net, tmp_path, 1 << 20)
    assert net.server.stop() == 0
    command = reader.begin("get", "tree", tmp_path / "dest", "--json")
    job = wait_until("it waits", lambda: (j := reader.jobs()) and j[0]["state"] == "waiting" and j[0])
    assert "server" in job["text"]
    net.server.start()
    ended(command)
    assert_same(src, tmp_path / "dest")


def test_no_wait_returns_at_once_and_the_server_gets_it_all(slow, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    publisher = slow.agent("publisher")
    slow.relay.rate = SLOW
    row = publisher.json("publish", src, "--share", "tree", "--no-wait")
    assert row["waited"] is False and "snapshot" not in row
    assert publisher.job()["kind"] == "publish"
    assert [s["state"] for s in publisher.json("snapshots", "tree")] == ["announced"]
    slow.relay.rate = None
    publisher.wait_for_jobs()
    publisher.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")


def test_a_dry_run_says_and_does_nothing(net, tmp_path):
    src = make_tree(tmp_path / "src", files=20, big=1)
    publisher = net.agent("publisher")
    row = publisher.json("publish", src, "--share", "tree", "--dry-run")
    assert row["dry_run"] and not row["unchanged"] and row["files"] > 20 and "snapshot" not in row
    assert publisher.json("shares") == []
    first = publisher.json("publish", src, "--share", "tree")
    assert first["files"] == row["files"] and first["bytes"] == row["bytes"]
    got = publisher.json("get", "tree", tmp_path / "dest")
    assert all(got[k] == first[k] for k in ("files", "symlinks", "bytes"))
    assert publisher.json("publish", src, "--share", "tree", "--dry-run")["unchanged"]
    write(src / "more", b"x" * 1000)
    row = publisher.json("publish", src, "--share", "tree", "--dry-run")
    assert not row["unchanged"] and row["bytes"] == first["bytes"] + 1000
    assert len(publisher.json("snapshots", "tree")) == 1


def test_a_part_of_a_share_alone(net, tmp_path):
    src = make_tree(tmp_path / "src")
    publisher = net.agent("publisher")
    publisher.json("publish", src, "--share", "tree")
    got = publisher.json("get", "tree", tmp_path / "part", "--path", "d1")
    assert_same(src / "d1", tmp_path / "part")
    assert got["bytes"] < 1 << 22
    publisher.json("get", "tree", tmp_path / "deep", "--path", "/".join(["deep"] * 39))
    assert (tmp_path / "deep" / "deep" / "down").read_bytes() == b"deep"
    said = publisher.fails(FAILED, "get", "tree", tmp_path / "none", "--path", "not/there")
    assert "not/there" in said
    assert not (tmp_path / "none").exists()
    for bad in ("../x", "/etc", "a/../b"):
        publisher.fails(2, "get", "tree", tmp_path / "none", "--path", bad)


def test_a_single_file_is_a_share_too(net, tmp_path):
    write(tmp_path / "one.bin", os.urandom(300_000))
    a = net.agent("a")
    row = a.json("publish", tmp_path / "one.bin", "--share", "one")
    assert row["files"] == 1
    a.json("get", "one", tmp_path / "dest")
    assert (tmp_path / "dest" / "one.bin").read_bytes() == (tmp_path / "one.bin").read_bytes()


def test_snapshots_are_had_by_number_label_and_id(net, tmp_path):
    src = tmp_path / "src"
    a = net.agent("a")
    ids = []
    for n in (1, 2, 3):
        write(src / "f", b"version %d" % n)
        ids.append(a.json("publish", src, "--share", "tree", "--label", f"v{n}")["id"])
    rows = a.json("snapshots", "tree")
    assert sorted(r["snapshot"] for r in rows) == [1, 2, 3] and {r["label"] for r in rows} == {"v1", "v2", "v3"}
    for n, which in ((1, "1"), (2, "v2"), (1, ids[0]), (3, ""), (2, ids[1][:20])):
        dest = tmp_path / f"dest-{n}-{len(which)}"
        a.json("get", f"tree@{which}" if which else "tree", dest)
        assert (dest / "f").read_bytes() == b"version %d" % n
    for which in ("4", "v9", "0", ids[0][:-1] + ("a" if ids[0][-1] != "a" else "b")):
        said = a.fails(FAILED, "get", f"tree@{which}", tmp_path / "none")
        assert which[:10] in said
    # and back again, in place
    a.json("get", "tree@1", tmp_path / "dest-3-0")
    assert (tmp_path / "dest-3-0" / "f").read_bytes() == b"version 1"


def test_two_gets_into_one_place_are_not_begun(slow, tmp_path):
    _, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    job = reader.wait_for_moved()["job"]
    said = reader.fails(FAILED, "get", "tree", tmp_path / "dest")
    assert f"weft cancel {job}" in said
    slow.relay.rate = None
    ended(command)


def test_two_gets_at_once_into_two_places(net, tmp_path):
    src, reader = published(net, tmp_path, 2 << 20)
    commands = [reader.begin("get", "tree", tmp_path / f"dest{i}") for i in range(3)]
    for i, command in enumerate(commands):
        ended(command)
        assert_same(src, tmp_path / f"dest{i}")


def test_what_a_second_get_finds_on_the_disk_is_not_fetched(net, tmp_path):
    src, reader = published(net, tmp_path)
    first = reader.json("get", "tree", tmp_path / "dest")
    assert first["bytes_fetched"] == SIZE
    again = reader.json("get", "tree", tmp_path / "dest")
    assert again["bytes_fetched"] == 0 and again["files_same"] == 4
    elsewhere = reader.json("get", "tree", tmp_path / "other")
    assert elsewhere["bytes_fetched"] == 0 and elsewhere["bytes_reused"] == SIZE
    (tmp_path / "dest" / "part2").unlink()
    repaired = reader.json("get", "tree", tmp_path / "dest")
    assert repaired["bytes_fetched"] == 0 and repaired["files_new"] + repaired["files_changed"] == 1
    assert_same(src, tmp_path / "dest")
    assert_same(src, tmp_path / "other")


def test_status_and_lists_say_what_is_there(net, tmp_path):
    src, reader = published(net, tmp_path, 1 << 20)
    status = reader.json("status")
    assert status["role"] == "agent" and status["connected"] and status["server"] == "spine" and status["jobs"] == []
    spine = net.server.json("status")
    assert spine["role"] == "server" and spine["shares"] == 1 and spine["devices"] >= 2 and spine["store_bytes"] >= 1 << 20
    assert {d["name"]: d["online"] for d in reader.json("devices")} == {
        **{d["name"]: d["online"] for d in reader.json("devices")}, "publisher": True, "reader": True}
    share, = reader.json("shares")
    assert share["share"] == "tree" and share["rights"] == "read" and share["bytes"] == 1 << 20
    for command in ("status", "shares", "devices", "jobs", "doctor", "version"):
        r = reader.run(command)
        assert max(map(len, r.stdout.splitlines() or [""])) < 200
    assert "tree" in reader.run("shares").stdout
    assert reader.run("shares", "--json", "-q").stdout.startswith("[")


def test_progress_without_a_terminal_is_a_line_now_and_then(slow, tmp_path):
    _, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    r = reader.run("get", "tree", tmp_path / "dest")
    assert "\r" not in r.stderr and "\x1b" not in r.stderr + r.stdout
    assert len(r.stderr.splitlines()) < 10
    assert "tree@1" in r.stdout and "fetched" in r.stdout and "spine" in r.stdout


def test_a_machine_that_leaves_is_gone_and_may_come_back(net, tmp_path):
    src, reader = published(net, tmp_path, 1 << 20)
    reader.json("get", "tree", tmp_path / "dest")
    reader.run("leave")
    assert reader.json("status").get("server") is None
    said = reader.fails(FAILED, "get", "tree", tmp_path / "dest2")
    assert "weft join" in said
    assert "weft join" in reader.fails(FAILED, "shares")
    assert_same(src, tmp_path / "dest")
    names = [d["name"] for d in net.server.json("devices")]
    assert "reader" not in names
    reader.run("join", net.invite(), "--name", "reader-again")
    reader.wait_for_link()
    again = reader.json("get", "tree", tmp_path / "dest3")
    assert again["bytes_fetched"] == 0
    assert "reader-again" in [d["name"] for d in net.server.json("devices")]


def test_leaving_ends_what_is_under_way(slow, tmp_path):
    _, reader = published(slow, tmp_path)
    slow.relay.rate = SLOW
    command = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    reader.run("leave")
    ended(command, DENIED)
    reader.wait_for_jobs()


def test_what_is_removed_gives_its_space_back(net, tmp_path):
    publisher = net.agent("publisher")
    one = make_files(tmp_path / "one", 4 << 20, seed=1)
    two = make_files(tmp_path / "two", 4 << 20, seed=2)
    publisher.json("publish", one, "--share", "one", "--policy", "central")
    publisher.json("publish", two, "--share", "two", "--policy", "central")

    def stored():
        return sum(p.stat().st_size for p in (net.server.home / "store").rglob("*") if p.is_file())
    full = stored()
    assert full > 8 << 20
    row = net.server.json("rm", "one", "--dry-run")
    assert row["share"] == "one" and row["dry_run"]
    assert {s["share"] for s in publisher.json("shares")} == {"one", "two"}
    net.server.run("rm", "one")
    assert {s["share"] for s in publisher.json("shares")} == {"two"}
    wait_until("the space is back", lambda: stored() < full - (3 << 20))
    publisher.fails(FAILED, "get", "one", tmp_path / "gone")
    publisher.json("get", "two", tmp_path / "dest")
    assert_same(two, tmp_path / "dest")
    assert publisher.json("publish", one, "--share", "one")["snapshot"] == 1


def test_a_snapshot_that_is_removed_leaves_the_others_whole(net, tmp_path):
    publisher = net.agent("publisher")
    src = make_files(tmp_path / "src", 2 << 20)
    publisher.json("publish", src, "--share", "tree")
    write(src / "part0", os.urandom(1 << 20))
    publisher.json("publish", src, "--share", "tree")
    said = net.server.fails(FAILED, "rm", "tree@2")
    assert "current" in said
    net.server.run("rm", "tree@1")
    assert [s["snapshot"] for s in publisher.json("snapshots", "tree")] == [2]
    publisher.fails(FAILED, "get", "tree@1", tmp_path / "none")
    other = net.agent("other", "--share", "tree:read")
    other.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")
    assert net.server.json("verify", "tree")["differences"] == 0


def test_verify_names_every_difference(net, tmp_path):
    src, reader = published(net, tmp_path, 1 << 20)
    dest = tmp_path / "dest"
    reader.json("get", "tree", dest)
    assert reader.json("verify", "tree")["differences"] == 0
    data = bytearray((dest / "part0").read_bytes())
    data[1000] ^= 1
    st = (dest / "part0").stat()
    (dest / "part0").write_bytes(data)
    os.utime(dest / "part0", ns=(st.st_atime_ns, st.st_mtime_ns))
    os.chmod(dest / "part1", 0o600)
    (dest / "part2").unlink()
    os.utime(dest / "part3", (1, 1))
    r = reader.run("verify", "tree", "--json", check=False)
    assert r.returncode == 5
    row = json.loads(r.stdout)
    found = {os.path.basename(d["path"]): d["what"] for d in row["different"]}
    assert set(found) == {"part0", "part1", "part2", "part3"} and row["differences"] == 4
    assert "content" in found["part0"] and "mode" in found["part1"] and found["part2"] == "missing" and "time" in found["part3"]
    one = reader.run("verify", "tree", dest / "part1", "--json", check=False)
    assert json.loads(one.stdout)["differences"] == 1
    assert net.server.json("verify", "tree")["differences"] == 0


def test_a_second_server_on_the_port_is_told_so(net, tmp_path):
    from weft import Node
    other = Node(tmp_path, "other")
    said = other.fails(FAILED, "server", "--listen", f"127.0.0.1:{net.port}")
    assert str(net.port) in said and "in use" in said


def test_an_agent_without_a_wish_takes_another_port_when_its_own_is_taken(net, tmp_path):
    from weft import Node
    nodes = [Node(tmp_path, "p1"), Node(tmp_path, "p2")]
    net.nodes += nodes
    ports = [n.start("agent").json("status")["listen"] for n in nodes]
    assert ports[0] != ports[1]


def test_a_daemon_without_its_control_socket_is_no_daemon(net):
    assert net.server.stop() == 0
    assert "weft server" in net.server.fails(3, "invite")
    assert "weft server" in net.server.fails(3, "status")


def test_of_two_gets_of_one_snapshot_the_second_copies_what_the_first_receives(net, tmp_path):
    src = make_files(tmp_path / "src", 4 << 20)
    owner = net.agent("owner")
    owner.json("publish", src, "--share", "tree")
    net.server.run("grant", "tree", "--all", "read")
    for node in (owner, net.server):
        node.arguments += ["--up-limit", "8Mbit"]  # or the first is done before the second begins
        node.restart()
    owner.wait_for_link()
    reader = net.agent("reader")
    reader.wait_for_link()
    gets = [reader.begin("get", "tree", tmp_path / name, "--json") for name in "abc"]
    got = []
    for command in gets:
        out, err = command.communicate(timeout=PATIENCE)
        assert command.returncode == 0, err
        got.append(json.loads(out.splitlines()[-1]))
    assert sum(row["bytes_fetched"] for row in got) < 5 << 20, got
    for name in "abc":
        assert_same(src, tmp_path / name)
