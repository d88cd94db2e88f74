"""What is announced and not yet the head: others may have it at once.  docs/protocol.md, Publishing."""
import os

import pytest

import wire
from test_tracker import Member
from weft import Net, wait_until
from wire import u32


CENTRAL = 1


class Announced:
    """A share that everybody may read, and a snapshot for it whose author sends what it is told to."""

    def __init__(self, net, members, name, policy=wire.HYBRID):
        self.server, self.name = net.server, name.encode()
        self.author, self.a, self.b = (m.dial() for m in members)
        self.data = os.urandom(5000)
        kind, fields = self.author.line.ask_one(wire.CREATE_SHARE, {1: self.name, 2: bytes([policy])})
        assert kind == wire.SNAPSHOT, fields
        self.snapshot = wire.Snapshot(self.author.key, fields[1], b"file", wire.chunk_of(self.data), len(self.data))
        net.server.run("grant", name, "--all", "read")

    def announce(self, units=None):
        """Its author sends nodes and, with UNITS, answers so when it is asked for bytes."""
        self.author.line.serve = self.snapshot.serve(units or (lambda w, stream: None))
        kind, fields = self.author.line.ask_one(wire.ANNOUNCE, {1: self.snapshot.share, 2: self.snapshot.commit})
        assert kind == wire.OK, fields

    def announce_dumb(self):
        """... or nothing at all."""
        self.author.line.serve = lambda *request: None
        kind, fields = self.author.line.ask_one(wire.ANNOUNCE, {1: self.snapshot.share, 2: self.snapshot.commit})
        assert kind == wire.OK, fields

    def send_data(self, w, stream):
        wire.unit_data(w, stream, self.data)

    def resolve(self, member, selector=b""):
        return member.line.ask_one(wire.RESOLVE, {1: self.name, 2: selector} if selector else {1: self.name})

    def tree(self):
        """To ask for its directory."""
        return {1: self.snapshot.share, 2: self.snapshot.id, 3: b"\2", 4: wire.object_id(2, self.snapshot.tree)}

    def close(self):
        for m in (self.author, self.a, self.b):
            m.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    net = Net(tmp_path_factory.mktemp("announced"))
    net.start_server()
    net.members = [Member(net, name, 7000 + i) for i, name in enumerate(("author", "a", "b"))]
    net.shares = 0
    yield net
    assert net.close() == []


@pytest.fixture(params=[wire.HYBRID])
def world(base, request):
    base.shares += 1
    announced = Announced(base, base.members, f"share-{base.shares}", request.param)
    yield announced
    announced.close()


def told(line, state):
    while (fields := line.wait_for(wire.PROGRESS))[3][0] != state:
        pass
    return fields


def refused(answer):
    kind, fields = answer
    return kind == wire.ERROR and fields[1][0]


def test_it_is_worth_waiting_for_until_its_manifest_is_here(world):
    assert refused(world.resolve(world.a)) == wire.NOT_FOUND
    world.announce_dumb()
    assert refused(world.resolve(world.a)) == wire.AGAIN
    (kind, _, _), = world.a.line.ask(wire.GET_NODES, world.tree())
    assert kind == wire.ERROR
    world.author.close()
    world.author.dial()
    world.announce()
    told(world.author.line, wire.ANNOUNCED)
    kind, fields = world.resolve(world.a)
    assert kind == wire.SNAPSHOT and fields[4] == world.snapshot.commit and fields[5][0] == wire.ANNOUNCED
    assert 3 not in fields and 6 not in fields  # no statement, no number
    text = wire.text_of(world.snapshot.id)
    for selector in (text, text[:10]):
        assert world.resolve(world.b, selector)[1][4] == world.snapshot.commit
    (kind, _, payload), = world.a.line.ask(wire.GET_NODES, world.tree())
    assert kind == wire.NODE and payload[4:] == world.snapshot.tree


def test_who_asked_about_the_share_is_told_when_it_can_be_had(world):
    assert refused(world.resolve(world.a)) == wire.NOT_FOUND  # there is none yet
    world.announce()
    told(world.author.line, wire.ANNOUNCED)
    assert told(world.a.line, wire.ANNOUNCED)[2] == world.snapshot.id
    world.b.line.ask(wire.QUERY, {1: b"\1"})
    assert wire.PROGRESS not in [kind for kind, _ in world.b.line.pushed]


@pytest.mark.parametrize("world", [CENTRAL], indirect=True, ids=["central"])
def test_of_a_central_share_nothing_is_had_before_it_is_the_head(world):
    world.announce()
    assert refused(world.resolve(world.a)) == wire.NOT_FOUND
    assert refused(world.resolve(world.a, wire.text_of(world.snapshot.id))) == wire.NOT_FOUND
    (kind, _, _), = world.a.line.ask(wire.GET_NODES, world.tree())
    assert kind == wire.ERROR
