"""What people see of the mesh: `weft peers` and `weft why`, and that whoever is sent away is gone at once."""

import time

from weft import assert_same, make_files, wait_until

MIB = 1 << 20


def row_of(rows, name):
    found = [r for r in rows if r["name"] == name]
    assert len(found) == 1, rows
    return found[0]


def shared(net, tmp_path, size=4 * MIB):
    """An agent that has published, and one that may read."""
    a, b = net.agent("ann"), net.agent("ben")
    make_files(tmp_path / "tree", size)
    a.run("publish", tmp_path / "tree", "--share", "photos")
    net.server.run("grant", "photos", "--all", "read")
    return a, b


def met(node, name):
    """NODE is connected to the device called NAME."""
    return lambda: [r for r in node.json("peers") if r["name"] == name and r["state"] == "connected"]


def test_peers_and_why_tell_where_bytes_come_from(net, tmp_path):
    a, b = shared(net, tmp_path)
    got = b.json("get", "photos", tmp_path / "out")
    assert_same(tmp_path / "tree", tmp_path / "out")
    sources = {s["name"]: s["bytes"] for s in got["sources"]}
    assert sum(sources.values()) == got["bytes_fetched"] == 4 * MIB
    assert sources["ann"] > 0, sources

    to_ann = row_of(b.json("peers"), "ann")
    assert to_ann["state"] == "connected" and to_ann["direction"] == "out"
    assert to_ann["tls"] and to_ann["address"].startswith("127.0.0.1:")
    assert to_ann["bytes_in"] >= sources["ann"] and not to_ann["liar"]
    assert to_ann["shares"] == "photos"
    from_ben = row_of(a.json("peers"), "ben")
    assert from_ben["state"] == "connected" and from_ben["direction"] == "in"
    assert from_ben["bytes_out"] >= sources["ann"]
    assert row_of(b.json("peers"), "spine")["server"]

    why = b.json("why", "photos")
    assert why["share"] == "photos" and why["held"] == why["units"] > 0 and why["missing"] == 0
    assert why["bytes_in"] == 4 * MIB
    ann = row_of(why["sources"], "ann")
    assert ann["bytes_in"] == sources["ann"] and ann["accepted_in"] >= 1 and ann["wrong"] == 0
    given = row_of(a.json("why", "photos")["sources"], "ben")
    assert given["bytes_out"] >= sources["ann"] and given["offers_out"] >= given["accepted_out"] >= 1
    assert "all of it is here" in why["limit"]


def test_the_tables_fit_80_columns(net, tmp_path):
    a, b = shared(net, tmp_path)
    b.run("get", "photos", tmp_path / "out")
    for node, verb in ((a, ["peers"]), (b, ["peers"]), (a, ["why", "photos"]), (b, ["why", "photos"])):
        text = node.run(*verb).stdout
        assert "ann" in text or "ben" in text
        assert all(len(line) <= 80 for line in text.splitlines()), text


def test_why_says_what_there_is_nothing_to_say_about(net, tmp_path):
    a = net.agent("ann")
    assert "nothing of 'nope' is moved or held here" in a.fails(1, "why", "nope")
    make_files(tmp_path / "tree", MIB)
    a.run("publish", tmp_path / "tree", "--share", "quiet", "--policy", "central")
    assert "nothing of 'quiet'" in a.fails(1, "why", "quiet")


def test_a_central_share_connects_nobody(net, tmp_path):
    a, b = net.agent("ann"), net.agent("ben")
    make_files(tmp_path / "tree", MIB)
    a.run("publish", tmp_path / "tree", "--share", "quiet", "--policy", "central")
    net.server.run("grant", "quiet", "--all", "read")
    got = b.json("get", "quiet", tmp_path / "out")
    assert [s["name"] for s in got["sources"]] == ["spine"]
    assert [r["name"] for r in b.json("peers")] == ["spine"]


def test_whose_membership_ends_is_cut_off_everywhere_at_once(net, tmp_path):
    a, b = shared(net, tmp_path)
    b.run("get", "photos", tmp_path / "out")
    wait_until("the two are connected", met(a, "ben"))
    net.server.run("leave", "ben")
    at = time.monotonic()
    wait_until("ann has cut ben off", lambda: not met(a, "ben")())
    assert time.monotonic() - at < 5  # a second, and what a loaded machine takes to ask
    row = row_of(a.json("peers"), "ben")
    assert row["state"] == "gone" and "membership" in row["text"]
    wait_until("ben has no connection left",
               lambda: [r for r in b.json("peers") if r["state"] == "connected"] == [])


def test_who_may_no_longer_read_gets_no_more_units(net, tmp_path):
    a, b = shared(net, tmp_path)
    b.run("get", "photos", tmp_path / "out")
    wait_until("the two are connected", met(a, "ben"))
    net.server.run("ungrant", "photos", "--all")
    wait_until("ben takes no part any more",
               lambda: not any(s["connected"] for s in a.json("why", "photos")["sources"] if s["name"] == "ben"))


def test_a_revocation_is_passed_on_while_the_server_is_away(net, tmp_path):
    """Ann and cem sleep while cem's membership ends, and wake up without a server: ben tells both."""
    b = net.agent("ben", start=False)
    b.start("agent", "--listen", "127.0.0.1:0", "--name", "ben", "--up-limit", "2MB")
    a, c = net.agent("ann"), net.agent("cem")
    make_files(tmp_path / "tree", 12 * MIB)
    b.run("publish", tmp_path / "tree", "--share", "photos", "--no-wait")
    net.server.run("grant", "photos", "--all", "read")
    commands = [node.begin("get", "photos", tmp_path / node.name) for node in (a, c)]
    for node in (a, c):
        node.wait_for_moved(MIB)
        node.stop()
    for command in commands:
        command.communicate()
    net.server.run("leave", "cem")
    wait_until("ben has heard of it", lambda: not met(b, "cem")())
    net.server.stop()
    for node in (a, c):
        node.start()
    wait_until("cem has heard of its end", lambda: "ended" in c.json("status").get("why", ""))
    a.wait_for_jobs()
    assert_same(tmp_path / "tree", tmp_path / "ann")
    assert not met(a, "cem")() and not met(b, "cem")()
    assert not (tmp_path / "cem" / "part0").exists()
    net.server.start()


def test_json_is_whole_when_there_is_nobody(net):
    a = net.agent("ann")
    wait_until("ann is connected", lambda: a.json("peers")[0]["state"] == "connected")
    assert len(a.json("peers")) == 1
