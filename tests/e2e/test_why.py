"""`weft why`: what limits a transfer and what would change it, of one job and of all, on an agent and on the server."""
from weft import FAILED, assert_same, make_files, wait_until

SIZE = 12 << 20
LIMIT = "16Mbit"


def slow_get(net, tmp_path, *policy):
    """A get that takes six seconds, of which some bytes have come."""
    src = make_files(tmp_path / "src", SIZE)
    net.agent("owner").json("publish", src, "--share", "tree", *policy)
    reader = net.agent("reader", "--share", "tree:read")
    reader.arguments += ["--down-limit", LIMIT]
    reader.restart()
    reader.wait_for_link()
    get = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved(SIZE // 8)
    return src, reader, get


def test_a_limit_in_the_way_is_named_with_what_would_change_it(net, tmp_path):
    src, reader, get = slow_get(net, tmp_path)
    why = wait_until("the limit is seen", lambda: (w := reader.json("why", "tree"))["cause"] == "limit" and w)
    assert "(down-limit)" in why["limit"] and "higher down-limit" in why["advice"]
    assert why["far_in"] <= why["bytes_in"]
    assert all(s["class"] in ("near", "far") for s in why["sources"])
    (job,) = reader.json("why")["jobs"]
    assert job["job"] == why["job"] and job["share"] == "tree" and job["advice"]
    assert "down-limit" in reader.run("why").stdout
    reader.run("pause", str(job["job"]))
    why = wait_until("it is paused", lambda: (w := reader.json("why", str(job["job"])))["cause"] == "paused" and w)
    assert "weft resume" in why["advice"]
    reader.run("resume", str(job["job"]))
    reader.wait_for_jobs()
    get.kill()
    get.communicate()
    assert_same(src, tmp_path / "dest")
    assert reader.json("why") == {"running": 0, "jobs": [], "sites": [], "sources": []}
    why = reader.json("why", "tree")
    assert why["cause"] in ("nothing", "receivers") and "advice" not in why


def test_of_a_central_share_it_says_so(net, tmp_path):
    _, reader, get = slow_get(net, tmp_path, "--policy", "central")
    reader.run("limit", "--off")
    why = reader.json("why", "tree")
    assert why["cause"] in ("central", "limit") and "units" not in why
    reader.wait_for_jobs()
    get.kill()
    get.communicate()


def test_the_server_tells_its_own_part_and_what_came_into_each_site(net, tmp_path):
    src = make_files(tmp_path / "src", SIZE)
    owner = net.agent("owner")
    owner.json("publish", src, "--share", "tree")
    why = net.server.json("why", "tree")
    assert why["bytes_in"] == SIZE and why["held"] == why["units"]
    assert [s["name"] for s in why["sources"] if s["bytes_in"]] == ["owner"]
    assert sum(s["members"] for s in why["sites"]) == len(why["sources"])
    assert all(s["bytes_held"] <= SIZE for s in why["sites"])
    assert "nothing of 'nope'" in net.server.fails(FAILED, "why", "nope")
