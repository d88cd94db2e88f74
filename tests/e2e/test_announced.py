"""What is announced and not yet the head: others may have it at once.  docs/protocol.md, Publishing."""
import os
import time

import pytest

import wire
from test_tracker import Member
from weft import Net, wait_until
from wire import Closed, u32


CENTRAL = 1
UNITS = 4


class Announced:
    """A share that everybody may read, and a snapshot for it whose author sends what it is told to."""

    def __init__(self, net, members, name, policy=wire.HYBRID):
        self.server, self.name = net.server, name.encode()
        self.author, self.a, self.b = (m.dial() for m in members)
        self.data = os.urandom(UNITS * 65536 - 1000)
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


def announced_to(line):
    return [fields[2] for kind, fields in line.pushed if kind == wire.PROGRESS and fields[3][0] == wire.ANNOUNCED]


def test_who_asks_about_the_share_later_is_told_what_can_be_had_already(world):
    world.announce()
    told(world.author.line, wire.ANNOUNCED)
    for _ in range(2):  # a new connection has not been told
        world.resolve(world.a)
        assert announced_to(world.a.line) == [world.snapshot.id]
        world.resolve(world.a)
        assert announced_to(world.a.line) == [world.snapshot.id], "once for a connection"
        world.a.close()
        world.a.dial()
    world.server.run("ungrant", world.name.decode(), "--all")
    assert refused(world.resolve(world.b)) == wire.NOT_FOUND and announced_to(world.b.line) == []


@pytest.mark.parametrize("world", [CENTRAL], indirect=True, ids=["central"])
def test_of_a_central_share_nothing_is_had_before_it_is_the_head(world):
    world.announce()
    assert refused(world.resolve(world.a)) == wire.NOT_FOUND
    assert refused(world.resolve(world.a, wire.text_of(world.snapshot.id))) == wire.NOT_FOUND
    assert announced_to(world.a.line) == []
    (kind, _, _), = world.a.line.ask(wire.GET_NODES, world.tree())
    assert kind == wire.ERROR


# -- the server takes it from whoever has it, and gives on what it has ----------------------------------------------------

class Swimmer:
    """A member in the swarm, that holds some units; it does as the server asks, and nothing else."""

    def __init__(self, world, member, have=()):
        self.world, self.line, self.job = world, member.line, 5
        self.have = set(have)
        member.enter(world.snapshot, self.job, UNITS)
        self.line.serve = self.serve
        self.lie = None      # what it sends instead of each leaf
        self.lost = {}       # units that cannot be read any more, and why
        self.taken = []      # units that the server asked for
        self.asked = {}      # streams of its requests for units
        self.line.wait_for(wire.ENTER)
        self.tell()

    def tell(self, starving=False, drop=()):
        fields = {1: u32(self.job), 4: wire.runs(*[(u, 1) for u in sorted(self.have)])}
        if starving:
            fields[3] = b"\1"
        if drop:
            fields[6] = wire.runs(*[(u, 1) for u in sorted(drop)])
        self.line.send(wire.NEWS, fields)

    def offer(self, *units):
        for u in units:
            self.line.send(wire.OFFER, {1: u32(self.job), 2: u32(u)})

    def serve(self, w, kind, stream, payload):
        fields = wire.decode(payload)
        if kind == wire.GET_NODES:
            self.world.snapshot.serve(None)(w, kind, stream, payload)
            return
        if fields[2] != self.world.snapshot.id:  # of another test, which ended before it was the head
            w.send(wire.ERROR, {1: wire.u16(wire.AGAIN), 2: b"not now"}, stream, wire.END)
            return
        unit = int.from_bytes(fields[4], "little")
        self.taken.append(unit)
        if unit in self.lost:
            w.send(wire.ERROR, {1: wire.u16(wire.NOT_FOUND), 2: self.lost[unit]}, stream, wire.END)
        else:
            wire.leaf_data(w, stream, self.world.data, unit, self.lie)

    def serves(self, *units):
        """Until the server has taken these."""
        while not set(units) <= set(self.taken):
            self.line.other(*self.line.frame())

    def gets(self, unit):
        """What the server answers, unasked by an offer."""
        return self.line.ask(wire.GET_UNITS, {1: self.world.snapshot.share, 2: self.world.snapshot.id, 3: u32(65536),
                                              4: u32(unit)})


def begin(world):
    """Announced, and its author in the swarm."""
    world.announce()
    author = Swimmer(world, world.author, range(UNITS))
    told(world.author.line, wire.ANNOUNCED)
    return author


def test_the_server_takes_what_is_offered_and_makes_it_the_head(world):
    assert refused(world.resolve(world.a)) == wire.NOT_FOUND
    author = begin(world)
    author.offer(*range(UNITS))
    author.serves(*range(UNITS))
    head = told(world.author.line, wire.HEAD)
    assert told(world.a.line, wire.HEAD)[7] == head[7]
    kind, fields = world.resolve(world.b)
    assert kind == wire.SNAPSHOT and fields[5][0] == wire.HEAD and fields[6] == wire.u64(1)


def test_what_the_server_has_of_it_is_had_before_it_is_the_head(world):
    author = begin(world)
    reader = Swimmer(world, world.a)
    assert [kind for kind, _, _ in reader.gets(0)] == [wire.ERROR]
    author.offer(1)
    author.serves(1)
    wire_data = world.data[65536:2 * 65536]
    reader.tell(starving=True)
    assert int.from_bytes(world.a.line.wait_for(wire.OFFER)[2], "little") == 1
    (kind, _, payload), = reader.gets(1)
    assert kind == wire.DATA and payload.endswith(wire_data)
    for unit in (0, 2):
        assert [kind for kind, _, _ in reader.gets(unit)] == [wire.ERROR]


def reported(world, name):
    device, = [d for d in world.server.json("devices") if d["name"] == name]
    return device.get("reported", 0)


def test_a_member_that_feeds_it_wrong_bytes_is_cut_off_named_and_counted(world):
    author = begin(world)
    liar = Swimmer(world, world.a, range(UNITS))
    liar.lie = os.urandom(65536)
    before = [reported(world, name) for name in ("author", "a", "b")]
    liar.offer(0, 1, 2)
    with pytest.raises(Closed):
        while True:
            world.a.line.other(*world.a.line.frame())
    assert sorted(liar.taken) == [0, 1, 2], "it has been asked for what it offered, no more"
    assert [reported(world, name) for name in ("author", "a", "b")] == [before[0], before[1] + 1, before[2]]
    assert world.server.says("a sent wrong bytes for unit")
    author.offer(*range(UNITS))
    author.serves(*range(UNITS))  # those of the liar too: nothing of it was kept
    told(world.author.line, wire.HEAD)
    reader = Swimmer(world, world.b)
    for unit in range(UNITS):
        (_, _, payload), = reader.gets(unit)
        assert payload.endswith(world.data[unit * 65536:(unit + 1) * 65536])


def test_its_readers_complete_it_when_its_author_has_died(world):
    author = begin(world)
    author.offer(0)
    author.serves(0)
    world.resolve(world.b)
    reader = Swimmer(world, world.a, (1, 2, 3))
    wait_until("the server has it", lambda: reader.gets(0)[0][0] == wire.DATA)
    world.author.close()
    reader.offer(1, 2, 3)
    reader.serves(1, 2, 3)
    assert told(world.b.line, wire.HEAD)[6 - 2] == wire.u64(1)


def test_what_its_author_lost_and_nobody_has_is_withdrawn_and_named(world):
    author = begin(world)
    reader = Swimmer(world, world.a, (2,))
    assert world.resolve(world.b)[0] == wire.SNAPSHOT
    author.lost = {2: b"two: changed since it was published", 3: b"three: changed since it was published"}
    author.have -= {2, 3}
    author.tell(drop=(2, 3))
    began = time.monotonic()
    author.serves(3)
    assert time.monotonic() - began > 9
    assert told(world.b.line, wire.WITHDRAWN)[8] == b"three: changed since it was published"
    assert 2 not in author.taken and reader.taken == []  # somebody has it: it is not lost
    assert refused(world.resolve(world.b)) == wire.NOT_FOUND


def test_while_its_author_is_away_it_waits(world):
    begin(world)
    assert world.resolve(world.b)[0] == wire.SNAPSHOT
    world.author.close()
    time.sleep(13)
    world.b.line.pushed.clear()
    assert world.resolve(world.b)[0] == wire.SNAPSHOT
    assert [kind for kind, _ in world.b.line.pushed] == []


def test_what_is_kept_is_given_as_the_last_resort(world):
    author = begin(world)
    author.offer(*range(UNITS))
    author.serves(*range(UNITS))
    told(world.author.line, wire.HEAD)
    reader = Swimmer(world, world.a)
    world.author.close()
    units = {int.from_bytes(world.a.line.wait_for(wire.OFFER)[2], "little") for _ in range(UNITS)}
    assert units == set(range(UNITS))
    for unit in units:
        (kind, _, payload), = reader.gets(unit)
        assert payload.endswith(world.data[unit * 65536:(unit + 1) * 65536])
