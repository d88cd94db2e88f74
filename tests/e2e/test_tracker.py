"""Who takes part in a swarm, as the server tells it: members that speak weft/1 by themselves.  docs/protocol.md, MEMBERS."""
import os
import time

import pytest

import wire
from weft import Net, wait_until
from wire import Closed, Key, Wire, u32

class Member:
    """A device that has joined, without a daemon; it says where it listens."""

    def __init__(self, net, name, port):
        agent = net.agent(name, start=False)
        self.name, self.server, self.port = name, net.port, port
        self.key = Key(net.base / f"key-{name}", pem=agent.home / "device.key")
        self.line = None
        self.knows, self.places = set(), {}

    def dial(self):
        self.knows, self.places = set(), {}
        self.line = Wire.dial(self.server, self.key)
        address = f"10.1.1.1:{self.port}".encode()
        self.line.hello(more={8: u32(len(address)) + address})
        return self

    def enter(self, snapshot, job=1, units=1, whole=False, unit_size=65536):
        wire.enter(self.line, job, snapshot, unit_size, units, have=[(0, units)] if whole else ())

    def take(self, fields):
        """What a MEMBERS says: whether it is the whole list, who came (with addresses), who left.  Places of those it knows,
        and of itself and the server (which has no address there), are noted."""
        whole, left = fields.get(3) == b"\1", wire.left(fields)
        self.knows = (set() if whole else self.knows) - left
        self.places |= wire.places(fields)
        came = {d: addresses for d, addresses in wire.members(fields).items()
                if addresses and d != self.key.device and d not in self.knows}
        self.knows |= set(came)
        return whole, came, left

    def told(self):
        """The next MEMBERS that is about others."""
        while True:
            whole, came, left = self.take(self.line.wait_for(wire.MEMBERS))
            if whole or came or left:
                return whole, came, left

    def place(self, device, **want):
        """What it was last told of the place of DEVICE, once that holds WANT."""
        while not want.items() <= self.places.get(device, {}).items():
            self.take(self.line.wait_for(wire.MEMBERS))
        return self.places[device]

    def is_told_nothing(self):
        """Nothing about others in swarms has been pushed until long after what should not cause it."""
        time.sleep(0.5)
        self.line.ask(wire.QUERY, {1: b"\1"})
        told = [self.take(fields) for kind, fields in self.line.pushed if kind == wire.MEMBERS]
        called = [kind for kind, _ in self.line.pushed if kind == wire.CALL]
        return called == [] and all((came, left) == ({}, set()) for _, came, left in told)

    def close(self):
        self.line.close()


class Tracked:
    """A hybrid share that everybody may read, with a snapshot of one file, and three members."""

    def __init__(self, net, members, name):
        self.server, self.name = net.server, name
        self.author, self.a, self.b, self.c = (m.dial() for m in members)
        line, data = self.author.line, os.urandom(5000)
        kind, fields = line.ask_one(wire.CREATE_SHARE, {1: name.encode(), 2: bytes([wire.HYBRID])})
        assert kind == wire.SNAPSHOT, fields
        self.snapshot = wire.Snapshot(self.author.key, fields[1], b"file", wire.chunk_of(data), len(data))
        line.serve = self.snapshot.serve(lambda w, stream: wire.unit_data(w, stream, data))
        assert line.ask_one(wire.ANNOUNCE, {1: self.snapshot.share, 2: self.snapshot.commit})[0] == wire.OK
        net.server.run("grant", name, "--all", "read")

    def close(self):
        for m in (self.author, self.a, self.b, self.c):
            m.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    net = Net(tmp_path_factory.mktemp("tracker"))
    net.start_server()
    net.members = [Member(net, name, 7000 + i) for i, name in enumerate(("author", "a", "b", "c"))]
    yield net
    assert net.close() == []


@pytest.fixture
def world(base):
    base.shares = getattr(base, "shares", 0) + 1
    tracked = Tracked(base, base.members, f"share-{base.shares}")
    yield tracked
    tracked.close()


def test_who_wants_something_hears_of_the_others_and_where_they_are(world):
    a, b = world.a, world.b
    a.enter(world.snapshot)
    assert a.told() == (True, {}, set())
    b.enter(world.snapshot)
    whole, came, left = b.told()
    # As it says, and where the server sees it, with its port.
    assert (whole, left) == (True, set()) and came == {a.key.device: ["10.1.1.1:7001", "127.0.0.1:7001"]}
    assert a.told() == (False, {b.key.device: ["10.1.1.1:7002", "127.0.0.1:7002"]}, set())
    b.line.send(wire.EXIT, {1: u32(1)})
    assert a.told() == (False, {}, {b.key.device})
    b.enter(world.snapshot)
    assert list(a.told()[1]) == [b.key.device]
    b.close()
    assert a.told() == (False, {}, {b.key.device})


def test_who_holds_everything_is_told_of_nobody_and_others_of_it(world):
    seed, a = world.a, world.b
    seed.enter(world.snapshot, whole=True)
    a.enter(world.snapshot)
    assert list(a.told()[1]) == [seed.key.device]
    assert seed.is_told_nothing()


@pytest.mark.parametrize("change", [{"unit_size": 131072}, {"units": 1000}], ids=["another unit size", "too many units"])
def test_an_enter_that_does_not_fit_is_ignored(world, change):
    a, b = world.a, world.b
    a.enter(world.snapshot, **change)
    b.enter(world.snapshot)
    assert b.told() == (True, {}, set())
    assert a.is_told_nothing()


def test_who_may_not_read_hears_nothing_and_is_not_told_of(world):
    server = world.server
    a, b = world.a, world.b
    server.run("ungrant", world.name, "--all")
    server.run("grant", world.name, "b", "read")
    a.enter(world.snapshot)
    b.enter(world.snapshot)
    assert b.told() == (True, {}, set())
    assert a.is_told_nothing()
    a.line.send(wire.DIAL, {1: b.key.device})
    assert b.is_told_nothing()


def test_whose_right_is_taken_away_has_left_at_once(world):
    a, b = world.a, world.b
    world.server.run("grant", world.name, "a", "read")
    a.enter(world.snapshot)
    assert a.told()[0]
    b.enter(world.snapshot)
    assert list(a.told()[1]) == [b.key.device]
    world.server.run("ungrant", world.name, "--all")
    assert a.told() == (False, {}, {b.key.device})
    b.enter(world.snapshot)
    assert a.is_told_nothing()


def test_a_removed_share_has_no_swarm(world):
    a, b = world.a, world.b
    a.enter(world.snapshot)
    b.enter(world.snapshot)
    assert b.told()[0]
    world.server.run("rm", world.name)
    a.line.send(wire.DIAL, {1: b.key.device})
    b.line.pushed.clear()
    assert b.is_told_nothing()


def test_who_cannot_be_reached_is_asked_to_dial_by_those_who_take_part_with_it(world):
    a, b, c = world.a, world.b, world.c
    a.enter(world.snapshot)
    b.enter(world.snapshot, whole=True)
    assert a.told()[0]
    a.line.send(wire.DIAL, {1: b.key.device})
    call = b.line.wait_for(wire.CALL)
    assert call[1] == a.key.device
    assert [x.decode() for x in wire.items(call[2])] == ["10.1.1.1:7001", "127.0.0.1:7001"]
    c.line.send(wire.DIAL, {1: b.key.device})  # takes part in nothing
    a.line.send(wire.DIAL, {1: c.key.device})
    a.line.send(wire.DIAL, {1: a.key.device})
    assert b.is_told_nothing() and c.is_told_nothing()


def test_who_asks_for_calls_without_end_gets_some(world):
    a, b = world.a, world.b
    a.enter(world.snapshot)
    b.enter(world.snapshot, whole=True)
    assert a.told()[0]
    for _ in range(500):
        a.line.send(wire.DIAL, {1: b.key.device})
    a.line.ask(wire.QUERY, {1: b"\1"})
    b.line.ask(wire.QUERY, {1: b"\1"})
    calls = [kind for kind, _ in b.line.pushed if kind == wire.CALL]
    assert 64 <= len(calls) <= 200


def test_news_of_units_that_there_are_not_end_the_connection(world):
    a, b = world.a, world.b
    a.enter(world.snapshot)
    a.line.send(wire.NEWS, {1: u32(1), 4: wire.runs((0, 2))})
    with pytest.raises(Closed):
        while True:
            a.line.frame()
    wait_until("a has left", lambda: (b.enter(world.snapshot), b.told()[1] == {})[1])


def test_who_is_reported_to_send_wrong_bytes_is_counted_and_named(world):
    a, b = world.a, world.b
    report = {1: world.snapshot.share, 2: world.snapshot.id, 3: u32(0), 4: b.key.device}
    a.line.send(wire.REPORT, report)
    a.line.send(wire.REPORT, report)
    b.line.send(wire.REPORT, report)  # of itself: nonsense
    a.line.ask(wire.QUERY, {1: b"\1"})
    b.line.ask(wire.QUERY, {1: b"\1"})
    assert {d["name"]: d.get("reported") for d in world.server.json("devices")} == {
        "spine": None, "author": None, "a": None, "b": 2, "c": None}
    assert world.server.says("a reports wrong bytes from b")


def test_who_is_no_member_any_more_has_left_at_once(world):
    a, c = world.a, world.c
    a.enter(world.snapshot)
    c.enter(world.snapshot)
    assert c.told()[0]
    wait_until("a hears of c", lambda: c.key.device in a.told()[1])
    world.server.run("leave", "c")
    assert a.told() == (False, {}, {c.key.device})
