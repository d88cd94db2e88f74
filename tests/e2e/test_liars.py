"""Members that lie to an agent, and strangers at its port: what it takes is what was published, whoever gave it; who lies is cut
off and named; nothing that connects keeps it from its work.  docs/threat-model.md, claims 5, 10 and 20."""
import os
import random
import resource
import select
import socket
import struct
import threading
import time

import pytest

import wire
from weft import PATIENCE, assert_same, wait_until, write
from wire import Closed, Key, Wire, u16, u32

FILES, FILE_BYTES = 40, 50_000  # each is one chunk of one leaf
UP = "1Mbit"                    # of the honest publisher: so the reader lacks something for seconds
STRANGERS = 10_000


def port_of(agent):
    return int(agent.json("status")["listen"])


def rss(node):
    """KiB of memory of its process."""
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


class Liar(threading.Thread):
    """A member that takes part in the swarm of a snapshot as docs/protocol.md says, up to its lie."""

    JOB = 9

    def __init__(self, net, name):
        super().__init__(daemon=True)
        agent = net.agent(name, start=False)
        self.name, self.server = name, net.port
        self.key = Key(net.base / f"key-{name}", pem=agent.home / "device.key")
        self.unanswered = 0
        self.lied, self.over, self.ended, self.wrong, self.open = 0, False, None, None, set()

    def learn(self, share):
        """From the server: who we are, what the snapshot is."""
        w = Wire.dial(self.server, self.key)
        self.authority = w.hello()[6]
        kind, f = w.ask_one(wire.RESOLVE, {1: share.encode()})
        assert kind == wire.SNAPSHOT, f
        w.ask(wire.QUERY, {1: b"\1"})
        self.member = wire.items(w.wait_for(wire.STATEMENTS)[1])[0]
        self.share, self.snapshot = wire.share_of(f[1]), wire.object_id(5, f[4])
        self.grant, self.unit_size = f[2], struct.unpack("<I", f[7])[0]
        w.close()
        return self

    def at(self, port):
        self.port = port
        self.start()
        return self

    def enter(self, w, units):
        w.send(wire.ENTER, {1: u32(self.JOB), 2: self.share, 3: self.snapshot, 4: u32(self.unit_size), 5: u32(units),
                            7: self.grant})

    def run(self):
        try:
            self.talk(Wire.dial(self.port, self.key))
        except (Closed, OSError) as e:
            self.ended = str(e)
        except Exception as e:  # a mistake of the test's own
            self.wrong = e

    def talk(self, w):
        w.hello(more={6: self.authority, 7: self.member})
        self.enter(w, 0)
        while not self.over:
            kind, flags, stream, payload = w.frame()
            fields = {} if kind in (wire.DATA, wire.NODE) else wire.decode(payload)
            if kind == wire.PING:
                w.send(wire.PONG, payload)
            elif kind == wire.ENTER:
                self.entered(w, struct.unpack("<I", fields[5])[0])
            elif kind == wire.GET_UNITS:
                self.open.add(stream)
                self.asked(w, stream, struct.unpack("<I", fields[4])[0])
            elif kind == wire.DECLINE:
                self.declined(w)
            elif kind == wire.CANCEL and stream in self.open:
                self.end(w, stream, 13)
                self.offer(w)
        w.close()

    def entered(self, w, units):
        """It has the map: now we hold everything."""
        self.units = units
        self.enter(w, units)
        w.send(wire.NEWS, {1: u32(self.JOB), 4: wire.runs((0, units))})
        self.offer(w)

    def offer(self, w):
        units = random.sample(range(self.units), min(self.units, 8))
        self.unanswered = len(units)
        for unit in units:
            w.send(wire.OFFER, {1: u32(self.JOB), 2: u32(unit)})

    def declined(self, w):
        """By all, for want of room or of trust: once more, later."""
        self.unanswered -= 1
        if self.unanswered == 0:
            time.sleep(0.2)
            self.offer(w)

    def end(self, w, stream, code):
        self.open.discard(stream)
        w.send(wire.ERROR, {1: u16(code)}, stream, wire.END)

    def asked(self, w, stream, unit):
        self.lied += 1
        self.lie(w, stream, unit)

    def lie(self, w, stream, unit):
        raise NotImplementedError


def leaf(w, stream, unit, data, first=0, flags=wire.END):
    w.send(wire.DATA, struct.pack("<IHHHH", unit, first, 1, 0, 0) + data, stream, flags)


class Corrupt(Liar):
    """Leaves of the right size with other bytes."""

    def lie(self, w, stream, unit):
        self.open.discard(stream)
        leaf(w, stream, unit, os.urandom(FILE_BYTES))
        self.offer(w)


class Bigger(Liar):
    """More bytes than a leaf has."""

    def lie(self, w, stream, unit):
        leaf(w, stream, unit, os.urandom(FILE_BYTES + 1))


class Elsewhere(Liar):
    """Leaves that nobody asked for."""

    def lie(self, w, stream, unit):
        leaf(w, stream, unit, os.urandom(FILE_BYTES), first=900)


class Empty(Liar):
    """Offers what it does not have."""

    def lie(self, w, stream, unit):
        self.end(w, stream, wire.NOT_FOUND)
        time.sleep(0.2)
        self.offer(w)


class Mute(Liar):
    def lie(self, w, stream, unit):
        pass


class Sluggard(Liar):
    """A byte a second, of which each keeps the connection alive."""

    def lie(self, w, stream, unit):
        w.sock.sendall(struct.pack("<IHHI", 12 + FILE_BYTES, wire.DATA, 0, stream) + struct.pack("<IHHHH", unit, 0, 1, 0, 0))
        while not self.over:
            w.sock.sendall(b"x")
            time.sleep(1)


class Beyond(Liar):
    """Units that there are not."""

    def offer(self, w):
        self.lied += 1
        w.send(wire.OFFER, {1: u32(self.JOB), 2: u32(self.units)})


class OutOfTurn(Liar):
    """An answer that nobody waits for."""

    def offer(self, w):
        self.lied += 1
        leaf(w, 4242, 0, b"x" * 100)


class Futuristic(Liar):
    """Frames of kinds that come later: skipped, and no fault."""

    def offer(self, w):
        self.lied += 1
        for kind in (103, 119, 127, 250, 60000):
            w.send(kind, os.urandom(500))


WRONG = (Corrupt, Bigger)
CUT_OFF = (Corrupt, Bigger, Elsewhere, Beyond, OutOfTurn)
BEARABLE = (Empty, Mute, Sluggard, Futuristic)


@pytest.fixture
def tree(tmp_path):
    rng = random.Random(5)
    for i in range(FILES):
        write(tmp_path / "src" / f"f{i:02}", rng.randbytes(FILE_BYTES))
    return tmp_path / "src"


def swarm_of(net, tree, liars, up=UP):
    """A publisher with a thin line, a reader, and LIARS who have joined and know what there is."""
    author = net.agent("author")
    reader = net.agent("reader")
    author.json("publish", tree, "--share", "tree")
    net.server.run("grant", "tree", "--all", "read")
    # The server gives what nobody else does: it has as thin a line.
    for node in (author, net.server):
        node.arguments += ["--up-limit", up]
        # Or a sanitizer keeps what was freed, for a while, and its memory says nothing.
        node.env["ASAN_OPTIONS"] = "quarantine_size_mb=1"
        node.restart()
    author.wait_for_link()
    reader.wait_for_link()
    return author, reader, [kind(net, kind.__name__.lower()).learn("tree") for kind in liars]


def row_of(net, rows, liar):
    """What is said of it, by its device: names are what nodes say of themselves."""
    device, = [d["device"] for d in net.server.json("devices") if d["name"] == liar.name]
    row, = [r for r in rows if r["device"] == device]
    return row


def test_liars_are_cut_off_and_named_and_nothing_of_theirs_is_kept(net, tree, tmp_path):
    author, reader, liars = swarm_of(net, tree, CUT_OFF + BEARABLE)
    command = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    for liar in liars:
        liar.at(port_of(reader))
    out, err = command.communicate(timeout=PATIENCE * 2)
    assert command.returncode == 0, err
    assert_same(tree, tmp_path / "dest")
    cut = [x for x in liars if isinstance(x, CUT_OFF)]
    assert all(x.lied for x in liars), [(x.name, x.lied, x.ended) for x in liars]
    wait_until("liars are cut off", lambda: all(x.ended for x in cut), 30)
    sources, peers = reader.json("why", "tree")["sources"], reader.json("peers")
    print(reader.run("why", "tree").stdout, reader.run("peers").stdout, sep="\n")
    for liar in liars:
        liar.over = True
        assert liar.wrong is None, liar.wrong
        said, seen = row_of(net, sources, liar), row_of(net, peers, liar)
        assert said["bytes_in"] == 0 and said["banned"] == seen["liar"] == isinstance(liar, WRONG), (said, seen)
        if isinstance(liar, CUT_OFF):
            assert "text" in said and seen["state"] in ("banned", "gone") and seen["text"], (said, seen)
        else:
            assert not liar.ended, f"{liar.name} was cut off: {liar.ended}"
    # Who was cut off is not let in again.
    with pytest.raises((Closed, OSError)):
        w = Wire.dial(port_of(reader), cut[0].key)
        w.hello(more={6: cut[0].authority, 7: cut[0].member})
        cut[0].enter(w, 0)
        while True:
            w.frame()
    assert author.json("verify", "tree")["differences"] == 0


def test_the_right_to_one_share_shows_nothing_of_another_whose_snapshot_is_known(net, tree, tmp_path):
    author = net.agent("author")
    write(tmp_path / "other" / "f", b"open to all")
    author.json("publish", tree, "--share", "secret")
    author.json("publish", tmp_path / "other", "--share", "open")
    net.server.run("grant", "secret", "--all", "read")
    liar = Mute(net, "liar").learn("secret")
    secret, snapshot, member = liar.share, liar.snapshot, liar.member
    net.server.run("ungrant", "secret", "--all")
    net.server.run("grant", "open", "--all", "read")
    liar.learn("open")
    net.server.stop()  # nobody else has the author open what it holds
    author.restart()
    w = Wire.dial(port_of(author), liar.key)
    w.hello(more={6: liar.authority, 7: member})
    own, liar.snapshot = liar.snapshot, snapshot
    liar.enter(w, 0)
    liar.JOB, liar.snapshot = 10, own
    w.sock.settimeout(2)
    liar.enter(w, 0)
    assert w.wait_for(wire.ENTER)[2] == liar.share
    with pytest.raises(Closed):  # nothing more comes
        while True:
            assert w.wait_for(wire.ENTER)[2] != secret


def test_whose_right_was_taken_away_is_not_told_of_what_comes_later(net, tmp_path):
    author, reader, liar = net.agent("author"), net.agent("reader"), Mute(net, "liar")
    first, second = tmp_path / "first", tmp_path / "second"
    write(first / "f", b"1")
    author.json("publish", first, "--share", "tree")
    net.server.run("grant", "tree", "reader", "read")
    net.server.run("grant", "tree", "liar", "read")
    # The reader hears of it as of one who takes part.
    liar.learn("tree")
    w = Wire.dial(net.port, liar.key)
    w.hello()
    liar.enter(w, 0)
    reader.json("get", "tree", tmp_path / "one")
    w.close()
    net.server.run("ungrant", "tree", "liar")
    for node in (author, net.server):
        node.arguments += ["--up-limit", UP]
        node.restart()
    author.wait_for_link()
    reader.wait_for_link()
    write(second / "f", random.Random(1).randbytes(2 << 20))
    author.json("publish", second, "--share", "tree")
    command = reader.begin("get", "tree", tmp_path / "two")
    reader.wait_for_moved()
    net.server.stop()
    wait_until("the reader knows that the server is away", lambda: not reader.json("status")["connected"])
    w = Wire.dial(port_of(reader), liar.key)
    w.sock.settimeout(2)
    w.hello(more={6: liar.authority, 7: liar.member})
    with pytest.raises(Closed):
        pytest.fail(f"it was told of {w.wait_for(wire.ENTER)[3]}")
    assert command.poll() is None, "the reader had all of it before"


def babble(liar, port, rng, n=100):
    """N messages of a swarm in no order, about few jobs, so that they meet each other's."""
    w = Wire.dial(port, liar.key)
    w.hello(more={6: liar.authority, 7: liar.member})
    stream = 1
    for _ in range(n):
        job, unit = {1: u32(rng.choice((1, 2, 9, 2**32 - 1)))}, {2: u32(rng.randrange(FILES))}
        what = {2: liar.share, 3: rng.choice((liar.snapshot, liar.snapshot, liar.share)), 4: u32(liar.unit_size),
                5: u32(rng.choice((0, FILES, FILES, FILES + 1))), 7: liar.grant}
        lists = {tag: wire.runs(*[(2 * i, 1) for i in range(rng.randrange(20))]) for tag in (4, 5, 6, 7) if rng.random() < .5}
        of = {1: liar.share, 2: liar.snapshot, 3: u32(liar.unit_size)}
        kind, fields, at = rng.choice((
            (wire.ENTER, {**job, **what}, 0),
            (wire.ENTER, {**job, **what}, 0),
            (wire.NEWS, {**job, **lists}, 0),
            (wire.OFFER, {**job, **unit}, 0),
            (wire.DECLINE, {**job, **unit, 3: bytes([rng.randrange(1, 4)]), 4: u32(0)}, 0),
            (wire.EXIT, job, 0),
            (wire.GET_UNITS, {**of, 4: u32(rng.choice((0, 5, FILES, 2**32 - 1)))}, stream),
            (wire.GET_NODES, {**of, 3: bytes([rng.choice((2, 4, 5))]), 4: liar.snapshot + liar.share}, stream),
            (wire.CANCEL, {}, rng.randrange(1, stream + 1, 2))))
        stream += 2 * (at == stream and kind != wire.CANCEL)
        w.send(kind, fields, at)
        if select.select([w.sock], [], [], 0)[0]:
            w.frame()
    return w


def test_whatever_a_member_says_in_whatever_order_a_get_ends_with_the_tree(net, tree, tmp_path):
    rng = random.Random(11)
    author, reader, liars = swarm_of(net, tree, (Mute, Sluggard))
    command = reader.begin("get", "tree", tmp_path / "dest")
    reader.wait_for_moved()
    open_, said, rounds = [], 0, 0
    while rounds < 8 or (said <= 12 and rounds < 40):  # one may close another's connection: how often is left to chance
        rounds += 1
        for port in (port_of(reader), port_of(author), net.port):
            try:  # some stay as they are, some break off in the middle
                open_.append(babble(rng.choice(liars), port, rng))
                said += 1
            except (Closed, OSError):
                pass
        if rng.random() < .5:
            open_.clear()
    assert said > 12
    out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == 0, err
    assert_same(tree, tmp_path / "dest")


# -- strangers at the port ------------------------------------------------------------------------------------------------

def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))


def knock(port, noise):
    """One connection that says NOISE; None when it was not let in."""
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect(("127.0.0.1", port))
        if noise:
            s.sendall(noise)
        return s
    except OSError:
        s.close()
        return None


NOISES = (
    lambda i: b"",
    lambda i: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[:1 + i % 11],
    lambda i: random.Random(i).randbytes(1 + i % 600),
    lambda i: b"GET / HTTP/1.1\r\nHost: weft\r\n\r\n",
)


def flood(port, n):
    """N connections one after the other, the newest few hundred of them open at a time."""
    held = []
    for i in range(n):
        s = knock(port, NOISES[i % len(NOISES)](i))
        if s is not None:
            held.append(s)
        if len(held) > 600:
            held.pop(0).close()
    return held


def test_ten_thousand_strangers_at_its_port_leave_an_agent_at_work(net, tree, tmp_path):
    many_files()
    author, reader, _ = swarm_of(net, tree, (), up="100Mbit")
    before = rss(author)
    command = reader.begin("get", "tree", tmp_path / "dest")
    held = flood(port_of(author), STRANGERS)
    try:
        assert author.json("status")["connected"]
        out, err = command.communicate(timeout=PATIENCE * 2)
        assert command.returncode == 0, err
        assert_same(tree, tmp_path / "dest")
        # A member comes in all the same.
        late = net.agent("late")
        late.wait_for_link()
        late.json("get", "tree", tmp_path / "late")
        assert_same(tree, tmp_path / "late")
        assert rss(author) - before < 64 << 10, "its memory has grown"
    finally:
        for s in held:
            s.close()


def test_a_greeting_byte_by_byte_is_not_waited_for(net, tmp_path):
    agent = net.agent("agent")
    lines = [s for s in (knock(port_of(agent), b"\x16") for _ in range(20)) if s]
    end = time.monotonic() + 25
    while lines and time.monotonic() < end:
        for s in list(lines):
            readable, _, _ = select.select([s], [], [], 0)
            try:
                if readable and s.recv(100) == b"":
                    raise OSError
                s.send(b"\x03")
            except OSError:
                lines.remove(s)
                s.close()
        time.sleep(0.5)
    assert not lines, "some connections were kept, though their greeting never ended"
    assert agent.json("status")["connected"]


def test_a_stranger_with_a_key_learns_nothing_from_an_agent(net, tree, tmp_path):
    author, _, _ = swarm_of(net, tree, (), up="100Mbit")
    w = Wire.dial(port_of(author), Key(tmp_path / "stranger"))
    with pytest.raises((Closed, OSError)):
        w.hello()
        for stream in range(1, 20, 2):
            w.send(wire.RESOLVE, {1: b"tree"}, stream)
            w.frame()
        while True:
            w.frame()
    for secret in (b"tree", b"f00"):  # its own name it says in its greeting
        assert secret not in w.heard
