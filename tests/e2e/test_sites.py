"""Sites: on one machine everybody is near enough, so the labels decide, and everything arrives all the same."""

from weft import Net, assert_same, make_files, wait_until

MIB = 1 << 20
UP = "4MB"  # slower than what makes two sites one


def office(net, name, site=None):
    node = net.agent(name, *(("--site", site) if site else ()), start=False)
    return node.start("agent", "--listen", "127.0.0.1:0", "--name", name, "--up-limit", UP)


def published(net, tmp_path, node, size=8 * MIB):
    make_files(tmp_path / "tree", size)
    node.run("publish", tmp_path / "tree", "--share", "build")
    net.server.run("grant", "build", "--all", "read")


def get_all(tmp_path, nodes):
    gets = [n.begin("get", "build", tmp_path / n.name) for n in nodes]
    for n, g in zip(nodes, gets):
        assert g.wait(120) == 0, n.tail()
        assert_same(tmp_path / "tree", tmp_path / n.name)


def row_of(node, name):
    found = [r for r in node.json("peers") if r["name"] == name and r["state"] == "connected"]
    return found[0] if found else {"class": None}


def test_who_bears_the_same_label_is_near_and_others_are_far(net, tmp_path):
    a, b = office(net, "ann", "hq"), office(net, "ben", "hq")
    c, d = office(net, "cem", "plant"), office(net, "dan", "plant")
    published(net, tmp_path, a)
    get_all(tmp_path, [b, c, d])
    wait_until("ben is near ann", lambda: row_of(b, "ann")["class"] == "near")
    wait_until("cem is near dan", lambda: row_of(c, "dan")["class"] == "near")
    wait_until("both sides say so", lambda: row_of(d, "cem")["class"] == "near")
    across = [r for n in (c, d) for r in (row_of(n, "ann"), row_of(n, "ben")) if r["class"]]
    assert across and all(r["class"] == "far" and r["site"] == "hq" for r in across), across
    assert all("another site" in r["class_why"] for r in across)
    status = c.json("status")
    assert status["site"] == "plant" and "believed: near to" in status["site_why"]


def test_where_nobody_bears_a_label_all_are_near(net, tmp_path):
    a, b = office(net, "ann"), office(net, "ben")
    published(net, tmp_path, a, 2 * MIB)
    get_all(tmp_path, [b])
    wait_until("ben is near ann", lambda: row_of(b, "ann")["class"] == "near")
    assert "class_why" not in row_of(b, "ann") and "site" not in b.json("status")


def test_sites_go_on_without_the_server(net, tmp_path):
    a = office(net, "ann", "hq")
    c, d = office(net, "cem", "plant"), office(net, "dan", "plant")
    published(net, tmp_path, a, 24 * MIB)
    gets = [n.begin("get", "build", tmp_path / n.name) for n in (c, d)]
    wait_until("cem and dan speak with ann", lambda: row_of(a, "cem")["class"] and row_of(a, "dan")["class"])
    net.server.kill()
    for n, g in zip((c, d), gets):
        assert g.wait(120) == 0, n.tail()
        assert_same(tmp_path / "tree", tmp_path / n.name)
    assert row_of(c, "dan")["class"] == "near" and row_of(c, "ann")["class"] == "far"


def test_a_server_with_a_site_is_far_from_who_is_elsewhere(tmp_path):
    net = Net(tmp_path)
    net.start_server("--site", "hq")
    a, c = office(net, "ann", "hq"), office(net, "cem", "plant")
    published(net, tmp_path, a, 2 * MIB)
    get_all(tmp_path, [c])
    assert row_of(c, "spine")["site"] == "hq" and row_of(c, "spine")["class"] == "far"
    assert net.close() == []
