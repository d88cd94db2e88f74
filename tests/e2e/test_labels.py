"""Sites: whose word a device's label is, that everybody hears of it at once, and that a wrong one harms nobody."""
import pytest

import wire
from test_tracker import Member, Tracked
from weft import FAILED, USAGE, Net, Node, one_line, wait_until
from wire import u32

PLACED = 113


@pytest.fixture
def net(tmp_path):
    n = Net(tmp_path)
    yield n
    assert n.close() == []


def sites(server, **want):
    """What `weft devices` says of where who is: site and whose word that is, of those in WANT once it is so."""
    def now():
        return {d["name"]: (d.get("site") or None, d.get("site_from")) for d in server.json("devices")}
    wait_until(f"{want}", lambda: want.items() <= now().items())


def test_a_label_is_the_administrators_else_the_subnets_else_its_own(net):
    server = net.start_server()
    net.agent("a", "--site", "hq", start=False)
    nodes = [Node(net.base, name) for name in "bc"]
    for node in nodes:
        node.run("join", net.invite(), "--name", node.name, "--site", "den")
        net.nodes.append(node)
    a, b = net.nodes[1], nodes[0]
    sites(server, a=("hq", "admin"), b=("den", "own"), c=("den", "own"))
    server.run("site", "map", "127.0.0.0/8", "lan")
    for node in (a, b):
        node.start("agent", "--listen", "127.0.0.1:0", "--name", node.name)
    sites(server, a=("hq", "admin"), b=("lan", "subnet"), c=("den", "own"))  # c is not seen anywhere
    server.run("site", "map", "127.0.0.1", "desk")
    server.run("site", "map", "127.0.0.0/9", "hall")
    sites(server, a=("hq", "admin"), b=("desk", "subnet"))
    server.run("site", "move", "b", "attic")
    server.run("site", "move", "a")
    sites(server, a=("desk", "subnet"), b=("attic", "admin"))
    server.restart()
    sites(server, a=("desk", "subnet"), b=("attic", "admin"), c=("den", "own"))
    said = server.json("site")
    # The server's own machine has no other word than the subnet's.
    rows = {x.get("site"): x["members"] for x in said["sites"]}
    assert (rows["attic"], rows["desk"], rows["den"], rows["hall"]) == (1, 2, 1, 0)
    assert {x["subnet"]: x["site"] for x in said["subnets"]} == {
        "127.0.0.0/8": "lan", "127.0.0.0/9": "hall", "127.0.0.1/32": "desk"}
    server.run("site", "unmap", "127.0.0.1/32")
    sites(server, a=("hall", "subnet"))
    server.run("site", "unmap", "127.0.0.0/9")
    server.run("site", "unmap", "127.0.0.0/8")
    server.run("site", "move", "b")
    sites(server, b=("den", "own"))
    wait_until("a is at no site", lambda: not [d for d in server.json("devices") if d["name"] == "a"][0].get("site"))
    shown = server.run("site").stdout
    assert "SITE" in shown and "den" in shown and "desk" not in shown


def test_the_server_has_a_place_too(net):
    server = net.start_server("--site", "hq")
    sites(server, spine=("hq", "own"))
    server.run("site", "move", "spine", "cellar")
    sites(server, spine=("cellar", "admin"))


# -- in swarms ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def world(net):
    net.start_server("--site", "hq")
    sites(net.server, spine=("hq", "own"))
    members = [Member(net, name, 7000 + i) for i, name in enumerate(("author", "a", "b", "c"))]
    tracked = Tracked(net, members, "share")
    yield tracked
    tracked.close()


def spine(world):
    """The id of the server, as it is shown in places."""
    return [d for d, place in world.a.places.items() if place["site"] in ("hq", "cellar") and d != world.a.key.device][0]


def test_a_changed_label_reaches_all_who_take_part_and_who_bears_it(world):
    a, b, server = world.a, world.b, world.server
    a.enter(world.snapshot)
    b.enter(world.snapshot)
    assert a.told()[0] and b.told()[0]
    assert {a.place(m.key.device, site="", gateways=2)["rank"] for m in (a, b)} == {1, 2}
    server.run("site", "move", "b", "attic")
    assert a.place(b.key.device, site="attic") == {"site": "attic", "rank": 1, "gateways": 1, "alone": 0}
    assert a.place(a.key.device, rank=1, gateways=1)["site"] == ""
    assert b.place(b.key.device, site="attic")["rank"] == 1
    # Its membership says so from now on, and it is told.
    b.line.ask(wire.QUERY, {1: b"\3"})
    assert any(kind == wire.STATEMENTS and b"attic" in fields[1] for kind, fields in b.line.pushed)
    server.run("site", "move", "spine", "cellar")
    wait_until("a hears where the server is", lambda: a.place(spine(world), site="cellar"))


def test_who_does_not_believe_its_label_is_a_site_of_its_own_until_it_does(world):
    a, b, server = world.a, world.b, world.server
    for name in "ab":
        server.run("site", "move", name, "attic")
    a.enter(world.snapshot)
    b.enter(world.snapshot)
    a.place(b.key.device, site="attic", gateways=2, alone=0)
    b.line.send(PLACED, {1: b"loft", 3: u32(48000), 4: b"\3", 5: b"\1"})  # that is not its label
    b.line.send(PLACED, {1: b"attic", 3: u32(48000), 4: b"\3", 5: b"\1"})
    a.place(b.key.device, site="attic", rank=1, gateways=1, alone=1)
    b.place(b.key.device, alone=1, rank=1)
    said = server.json("site")
    assert said["alone"] == [{"name": "b", "site": "attic", "from": "admin", "rtt": 48, "text": "near to 1 of 3 members there"}]
    assert [(x["members"], x["gateways"]) for x in said["sites"] if x.get("site") == "attic"] == [(2, "a")]
    assert {d["name"]: d.get("alone") for d in server.json("devices")}["b"] is True
    b.line.send(PLACED, {1: b"attic", 2: b"\1", 4: b"\3", 5: b"\3"})
    a.place(b.key.device, site="attic", gateways=2, alone=0)
    b.line.send(PLACED, {1: b"attic", 4: b"\1"})
    a.place(b.key.device, alone=1)
    server.run("site", "move", "b", "loft")  # another label, another question
    a.place(b.key.device, site="loft", alone=0)
    assert server.json("site")["alone"] == []


# -- what is wrong gets one line ------------------------------------------------------------------------------------------

def test_what_is_wrong_gets_one_line(net):
    server = net.start_server()
    net.agent("a", start=False)
    for status, words, *arguments in (
            (USAGE, "move|map|unmap", "drop"),
            (USAGE, "move whom", "move"),
            (FAILED, "no such device: nobody", "move", "nobody", "hq"),
            (USAGE, "is not a name", "move", "a", "x/y"),
            (USAGE, "no site of yours", "move", "a"),
            (USAGE, "too many arguments", "move", "a", "hq", "more"),
            (USAGE, "map what", "map"),
            (USAGE, "map what", "map", "10.0.0.0/8"),
            (USAGE, "no network", "map", "office", "hq"),
            (USAGE, "is it 10.1.0.0/16?", "map", "10.1.2.3/16", "hq"),
            (USAGE, "0 to 32", "map", "10.1.0.0/40", "hq"),
            (USAGE, "unmap one", "unmap"),
            (USAGE, "unmap one", "unmap", "10.0.0.0/8", "hq"),
            (FAILED, "10.0.0.0/8 is not mapped", "unmap", "10.0.0.0/8")):
        said = server.fails(status, "site", *arguments)
        assert words in said, (arguments, said)
    agent = net.nodes[1]
    agent.start("agent", "--listen", "127.0.0.1:0", "--name", "a")
    assert "server" in one_line(agent.run("site", check=False).stderr)
