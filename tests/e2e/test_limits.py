"""up-limit and down-limit: one line for all connections of a node.  That nothing is faster than it says is tested here; that it
is not slower either is measured (docs/benchmarks.md)."""
import contextlib
import sqlite3
import threading
import time

from weft import FAILED, USAGE, Node, assert_same, make_files, wait_until

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


# -- weft limit -------------------------------------------------------------------------------------------------------

def test_a_limit_changes_while_a_transfer_runs_and_is_kept(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    net.agent("owner").json("publish", src, "--share", "tree", "--policy", "central")
    reader = net.agent("reader", "--share", "tree:read")
    reader.wait_for_link()
    assert reader.json("limit") == {"week": [], "rates": []}
    said = reader.json("limit", "--down", "800kbit", "--lan")
    assert said["down"] == said["down_now"] == said["near_down_now"] == 100_000 and said["lan"]
    reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    begun = time.monotonic()
    reader.restart()
    reader.wait_for_link()
    assert reader.json("limit") == said
    time.sleep(2)
    job = reader.job()
    assert job["done"] < SIZE / 2 and time.monotonic() - begun < SIZE / 100_000
    assert reader.json("limit", "--off") == {"week": [], "rates": []}
    reader.wait_for_jobs()
    assert time.monotonic() - begun < SIZE / 100_000 / 2  # at the old rate it would have taken a minute
    assert_same(src, tmp_path / "dest")
    reader.restart()
    assert "down" not in reader.json("limit")


def test_the_schedule_says_what_holds_now_and_is_shown_as_a_week(net):
    agent = net.agent("a")
    said = agent.json("limit", "--up", "8Mbit", "--schedule", "up 16Mbit; mon 00-24 down 24Mbit; sun 08-18 off")
    week = {row["day"]: row["hours"] for row in said["week"]}
    assert list(week) == ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    assert week["tue"] == "A" * 24 and week["mon"] == "B" * 24 and week["sun"] == "A" * 8 + "C" * 10 + "A" * 6
    assert [(r["letter"], r.get("up"), r.get("down")) for r in said["rates"]] == [
        ("A", 2_000_000, None), ("B", 2_000_000, 3_000_000), ("C", 0, 0)]
    assert said["up"] == 1_000_000  # as set: the schedule is beside it
    now = time.localtime()
    letter = week[("mon", "tue", "wed", "thu", "fri", "sat", "sun")[now.tm_wday]][now.tm_hour]
    if time.localtime().tm_hour == now.tm_hour:
        assert agent.json("limit").get("up_now") == {"A": 2_000_000, "B": 2_000_000, "C": None}[letter]
    text = agent.run("limit").stdout
    assert "A" * 24 in text and "up 16 Mbit/s, down 24 Mbit/s" in text
    assert agent.json("limit", "--schedule", "none")["up_now"] == 1_000_000


def test_a_limit_for_other_sites_leaves_the_own_one_alone(net):
    said = net.agent("a").json("limit", "--up", "8Mbit", "--down", "8Mbit")
    assert said["up_now"] == said["down_now"] == 1_000_000
    assert "near_up_now" not in said and "near_down_now" not in said


def job_is_held(node, way):
    """The one job of NODE moves no more than its limit, keeps that across a restart, and is quick without."""
    job = str(node.job()["job"])
    said = node.json("limit", job, "--" + way, "2Mbit")
    assert said[way] == said[way + "_now"] == 250_000 and said["job"] == int(job)
    time.sleep(1)  # what was asked for before
    before, begun = node.job()["done"], time.monotonic()
    time.sleep(4)
    moved, took = node.job()["done"] - before, time.monotonic() - begun
    assert 0 < moved <= 250_000 * took * 1.05 + (256 << 10)  # and what is under way
    node.restart()
    assert node.json("limit", job) == said
    assert "job" not in node.json("limit") and way not in node.json("limit")
    node.json("limit", job, "--off")
    node.wait_for_jobs()
    assert job in node.fails(FAILED, "limit", job)


def test_a_job_alone_is_limited_in_what_it_takes_in(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    net.agent("owner").json("publish", src, "--share", "tree", "--policy", "central")
    reader = net.agent("reader", "--share", "tree:read")
    reader.json("limit", "--down", "800kbit", "--lan")  # or it is done before anything can be said
    reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    job = str(reader.job()["job"])
    reader.json("limit", job, "--down", "2Mbit")
    reader.json("limit", "--off")
    job_is_held(reader, "down")
    assert_same(src, tmp_path / "dest")


def test_a_job_alone_is_limited_in_what_it_gives(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    owner = net.agent("owner")
    owner.json("limit", "--up", "800kbit", "--lan")
    owner.begin("publish", src, "--share", "tree", "--policy", "central")
    owner.wait_for_moved()
    job = str(owner.job()["job"])
    owner.json("limit", job, "--up", "2Mbit")
    owner.json("limit", "--off")
    job_is_held(owner, "up")


def test_a_node_in_the_background_moves_all_and_stays_so(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    owner = net.agent("owner")
    assert owner.json("limit", "--background", "on")["background"]
    owner.json("publish", src, "--share", "tree", "--policy", "central")
    reader = net.agent("reader", "--share", "tree:read")
    reader.json("limit", "--background", "on")
    reader.json("get", "tree", tmp_path / "dest")
    assert_same(src, tmp_path / "dest")
    reader.restart()
    said = reader.json("limit")
    assert said["background"] and said["up_now"] > 0  # the pace
    assert reader.json("limit", "--background", "off") == {"week": [], "rates": []}


def test_what_is_no_limit_gets_one_line(net):
    agent = net.agent("a")
    for words, part in (
            (("--up", "50"), "'50'"), (("--down", "100kbit"), "128kbit"), (("--schedule", "mon 08-18"), "without a rate"),
            (("--schedule", "mon 8-25 8Mbit"), "'8-25'"), (("--schedule", "20Mbit" * 100), "longer"),
            (("--off", "--up", "8Mbit"), "alone"), (("--lan",), "--lan goes with"), (("--background", "maybe"), "on|off"),
            (("--site", "berlin", "--up", "8Mbit"), "on the server"), (("seven",), "seven")):
        assert part in agent.fails(USAGE, "limit", *words)
    assert agent.json("limit") == {"week": [], "rates": []}


# -- the line of a site -----------------------------------------------------------------------------------------------

def moved(nodes, way):
    return sum(n.json("status")[way] for n in nodes)


def test_all_of_a_site_together_keep_to_its_line(net, tmp_path):
    """Four agents of one office fetch from the server; the line is theirs together, and follows when it is changed."""
    src = make_files(tmp_path / "src", SIZE)
    net.agent("owner", "--site", "hq").json("publish", src, "--share", "tree", "--policy", "central")
    office = [net.agent(f"o{i}", "--share", "tree:read", "--site", "office") for i in range(4)]
    for a in office:
        a.wait_for_link()
    line = 500_000  # bytes a second, with headers
    said = net.server.json("limit", "--site", "office", "--down", f"{line * 8 // 1000}kbit")
    assert said["down"] == said["down_now"] == line and said["members"] == said["devices"] == 4
    wait_until("all have their share", lambda: all("share_down" in a.json("limit") for a in office))
    for a in office:
        a.begin("get", "tree", tmp_path / a.name)
    time.sleep(4)
    before, begun = moved(office, "received"), time.monotonic()
    time.sleep(6)
    after, ended = moved(office, "received"), time.monotonic()
    assert (after - before) / (ended - begun) <= line * 1.05
    assert after > before
    assert sum(a.json("limit")["share_down"] for a in office) <= line
    assert net.server.json("limit", "--site", "office")["leased_down"] <= line
    net.server.restart()  # which knows the limit still; and nobody is faster meanwhile
    assert net.server.json("limit", "--site", "office")["down"] == line
    again, ended = moved(office, "received"), time.monotonic() - ended
    assert again - after <= line * max(ended, 5) * 1.05
    net.server.json("limit", "--site", "office", "--off")
    for a in office:
        a.wait_for_jobs()
        assert_same(src, tmp_path / a.name)
        assert "share_down" not in a.json("limit")


def test_what_is_no_line_gets_one_line(net):
    server = net.server
    for words, part in ((("--site", "a/b"), "a name"), (("--site", "x", "--lan", "--up", "8Mbit"), "--lan"),
                        (("7", "--site", "x", "--up", "8Mbit"), "either"), (("--site", "x", "--up", "50"), "'50'"),
                        (("--site", "x", "--schedule", "noon 8Mbit"), "'noon'")):
        assert part in server.fails(USAGE, "limit", *words)
    said = server.run("limit", "--site", "nowhere", "--up", "8Mbit")
    assert "no device is at site nowhere" in said.stderr
    assert "up" not in server.json("limit")  # its own
    assert server.json("limit", "--up", "16Mbit")["up"] == 2_000_000
    assert server.json("limit", "--site", "nowhere")["up"] == 1_000_000


def test_a_line_that_is_damaged_is_named_and_the_server_serves(net):
    server = net.server
    server.json("limit", "--site", "office", "--down", "8Mbit")
    server.stop()
    with contextlib.closing(sqlite3.connect(server.home / "server.db")) as db, db:
        db.execute("UPDATE line SET setting = x'ff'")
    server.start()
    assert server.says("the limits of lines cannot be read: left out")  # the sums of its pages tell
    assert "down" not in server.json("limit", "--site", "office")
    server.json("limit", "--site", "office", "--down", "8Mbit")
    assert server.json("limit", "--site", "office")["down"] == 1_000_000
