"""Who has no right gets nothing, not even names: strangers, devices without membership, members without a grant, and members
who claim what they do not have.  docs/threat-model.md, claims 1 to 3, 6 and 7."""
import json
import os
import socket
import ssl
import struct
import time

import pytest

import wire
from weft import DENIED, FAILED, Net, Node, one_line, wait_until, write
from wire import Closed, Key, Wire, u16, u32

SECRET = b"private-share-of-somebody"
NAMES = (SECRET, b"owner-name", b"secret-file", b"the contents of the secret file")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with a private share of `owner`, and two members without access to it, one without a daemon."""
    base = tmp_path_factory.mktemp("strangers")
    net = Net(base)
    net.start_server()
    owner = net.agent("owner-name")
    write(base / "src" / "secret-file", b"the contents of the secret file" * 1000)
    owner.json("publish", base / "src", "--share", SECRET.decode())
    net.member = net.agent("member")
    net.mute = net.agent("mute", start=False)
    net.owner, net.tmp = owner, base
    yield net
    assert owner.json("shares")[0]["share"] == SECRET.decode()
    assert net.close() == []


@pytest.fixture
def stranger(tmp_path):
    return Key(tmp_path / "stranger")


def assert_learnt_nothing(heard):
    for name in NAMES:
        assert name not in heard


# -- without a key, or with one that nobody knows ------------------------------------------------------------------------

def drain(s):
    s.settimeout(wire.LIMIT_S)
    got = b""
    try:
        while b := s.recv(65536):
            got += b
    except OSError:
        pass
    return got


@pytest.mark.parametrize("noise", [b"GET /shares HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 200,
                                   b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["http", "zeros", "hello", "ssh"])
def test_whoever_does_not_speak_tls_gets_an_alert_at_most(world, noise):
    with socket.create_connection(("127.0.0.1", world.port)) as s:
        s.sendall(noise)
        s.shutdown(socket.SHUT_WR)
        got = drain(s)
    assert len(got) < 64
    assert_learnt_nothing(got)


def test_without_a_certificate_nothing_is_said(world):
    try:
        w = Wire.dial(world.port, None)
        w.send(wire.HELLO, {1: u16(1), 2: u16(1), 3: b"x"})
        assert w.until_closed() == []
    except (Closed, ssl.SSLError, OSError):
        return


@pytest.mark.parametrize("alpn", [None, "h2", "http/1.1", "weft/2"])
def test_another_protocol_is_refused_in_the_handshake(world, stranger, alpn):
    try:
        w = Wire.dial(world.port, stranger, alpn=alpn)
        assert w.until_closed() == []
    except (Closed, ssl.SSLError, OSError):
        return


def test_a_certificate_of_another_curve_is_refused(world, tmp_path):
    try:
        w = Wire.dial(world.port, Key(tmp_path / "curve", curve="secp384r1"))
        w.send(wire.HELLO, {1: u16(1), 2: u16(1), 3: b"x"})
        assert w.until_closed() == []
    except (Closed, ssl.SSLError, OSError):
        return


REQUESTS = ["resolve", "resolve to write", "shares", "snapshots", "devices", "create", "nodes", "units", "announce", "leave"]


def requests(share=SECRET):
    """One of each kind."""
    some = b"\1" + bytes(32)
    return [
        (wire.RESOLVE, {1: share}),
        (wire.RESOLVE, {1: share, 3: b"\1"}),
        (wire.QUERY, {1: b"\1"}),
        (wire.QUERY, {1: b"\2", 2: share}),
        (wire.QUERY, {1: b"\3"}),
        (wire.CREATE_SHARE, {1: b"mine-now"}),
        (wire.GET_NODES, {1: some, 2: some, 3: b"\2", 4: some}),
        (wire.GET_UNITS, {1: some, 2: some, 3: u32(65536), 4: u32(0)}),
        (wire.ANNOUNCE, {1: some, 2: b"x" * 300}),
        (wire.LEAVE, {}),
    ]


@pytest.mark.parametrize("kind, fields", requests(), ids=REQUESTS)
def test_a_device_without_membership_is_cut_off_at_its_first_question(world, stranger, kind, fields):
    w = Wire.dial(world.port, stranger)
    w.hello()
    w.send(kind, fields, stream=1)
    frames = w.until_closed()
    assert [f[0] for f in frames] == [wire.ERROR]
    assert_learnt_nothing(w.heard)


def test_what_the_server_says_to_anybody_holds_no_name(world, stranger):
    w = Wire.dial(world.port, stranger)
    w.hello()
    assert_learnt_nothing(w.heard)
    assert b"spine" not in w.heard
    w.close()


def test_bytes_before_a_greeting_end_the_connection(world, stranger):
    w = Wire.dial(world.port, stranger)
    w.send(wire.RESOLVE, {1: SECRET}, stream=1)
    kinds = [f[0] for f in w.until_closed()]
    assert kinds in ([wire.HELLO, wire.ERROR], [wire.ERROR])
    assert_learnt_nothing(w.heard)


def test_a_frame_too_long_for_a_guest_ends_the_connection(world, stranger):
    w = Wire.dial(world.port, stranger)
    w.hello()
    w.sock.sendall(struct.pack("<IHHI", 9000, wire.JOIN, 0, 1))
    assert [f[0] for f in w.until_closed()] == [wire.ERROR]


@pytest.mark.parametrize("invite", [bytes(8), os.urandom(8)], ids=["zeros", "random"])
def test_an_invite_that_was_guessed_is_refused(world, stranger, invite):
    w = Wire.dial(world.port, stranger)
    w.hello()
    kind, fields = w.ask_one(wire.JOIN, {1: invite, 2: os.urandom(32), 3: b"guess"})
    assert kind == wire.ERROR and fields[1] == u16(wire.DENIED)
    assert_learnt_nothing(w.heard)
    w.close()


def test_a_membership_shown_in_a_greeting_makes_no_member(world, stranger):
    """Only the key of the handshake counts."""
    w = Wire.dial(world.port, stranger)
    w.hello(more={7: os.urandom(200)})
    assert [f[0] for f in w.until_closed()] == [wire.ERROR]


def test_a_thousand_bytes_of_noise_inside_tls_end_one_connection_only(world, stranger):
    for _ in range(20):
        w = Wire.dial(world.port, stranger)
        w.sock.sendall(os.urandom(1000))
        w.until_closed()
    assert world.member.json("status")["connected"]


# -- a member without a grant ---------------------------------------------------------------------------------------------

@pytest.fixture
def mute(world, tmp_path):
    """A member of whom we have the key: what it sends is ours to choose."""
    return Key(tmp_path / "mute", pem=world.mute.home / "device.key")


@pytest.fixture
def line(world, mute):
    w = Wire.dial(world.port, mute)
    w.hello()
    yield w
    w.close()


def test_a_share_that_may_not_be_read_is_answered_as_one_that_is_not_there(world):
    there = world.member.fails(FAILED, "get", SECRET.decode(), world.tmp / "x")
    absent = world.member.fails(FAILED, "get", "no-such-share", world.tmp / "x")
    assert there.replace(SECRET.decode(), "NAME") == absent.replace("no-such-share", "NAME")
    there = world.member.fails(FAILED, "snapshots", SECRET.decode())
    absent = world.member.fails(FAILED, "snapshots", "no-such-share")
    assert there.replace(SECRET.decode(), "NAME") == absent.replace("no-such-share", "NAME")
    assert world.member.json("shares") == []
    assert not (world.tmp / "x").exists()


@pytest.mark.parametrize("fields", [{}, {2: b"1"}, {2: b"nonsense"}, {3: b"\1"}],
                         ids=["head", "number", "label", "to write"])
def test_on_the_wire_the_two_answers_are_the_same_bytes(world, line, fields):
    there = line.ask_one(wire.RESOLVE, {1: SECRET, **fields})
    absent = line.ask_one(wire.RESOLVE, {1: b"x" * len(SECRET), **fields})
    assert there[0] == wire.ERROR
    assert there[1][2].replace(SECRET, b"x" * len(SECRET)) == absent[1][2] and there[1][1] == absent[1][1]


def test_lists_do_not_name_what_may_not_be_seen(world, line):
    kind, fields = line.ask_one(wire.QUERY, {1: b"\1"})
    assert kind == wire.ROWS and 2 not in fields
    line.ask_one(wire.QUERY, {1: b"\3"})
    assert SECRET not in line.heard and b"secret-file" not in line.heard


def identity(world):
    """Share, snapshot and content root of the private share, as its owner knows them."""
    owner = Key(world.tmp / "owner-key", pem=world.owner.home / "device.key")
    w = Wire.dial(world.port, owner)
    w.hello()
    kind, fields = w.ask_one(wire.RESOLVE, {1: SECRET})
    w.close()
    assert kind == wire.SNAPSHOT
    commit = fields[4]
    at = 1 + 33 + 33 + 1  # the epoch is 0 or below 128
    return wire.share_of(fields[1]), wire.object_id(5, commit), commit[at:at + 33], fields[7], fields[1]


def test_the_right_ids_are_no_right(world, line):
    share, snapshot, content, unit_size, _ = identity(world)
    for kind, fields in ((wire.GET_NODES, {2: snapshot, 3: b"\2", 4: content}),
                         (wire.GET_UNITS, {2: snapshot, 3: unit_size, 4: u32(0)}),
                         (wire.ANNOUNCE, {2: b"x" * 300})):
        there = line.ask_one(kind, {1: share, **fields})
        absent = line.ask_one(kind, {1: b"\1" + b"z" * 32, **fields})
        assert there[0] == absent[0] == wire.ERROR and there[1][1] == absent[1][1] == u16(wire.NOT_FOUND), kind
        assert_learnt_nothing(line.heard)


def found_share(line, name):
    """A share of our own: its first statement."""
    kind, fields = line.ask_one(wire.CREATE_SHARE, {1: name})
    assert kind == wire.SNAPSHOT, fields
    return fields[1]


def test_nodes_and_units_of_one_share_are_not_given_under_another(world, line):
    _, snapshot, content, unit_size, _ = identity(world)
    mine = wire.share_of(found_share(line, b"a-share-of-mine"))
    (kind, flags, _), = line.ask(wire.GET_NODES, {1: mine, 2: snapshot, 3: b"\2", 4: content})
    assert (kind, flags & wire.MISSING) == (wire.NODE, wire.MISSING) or kind == wire.ERROR
    kind, fields = line.ask_one(wire.GET_UNITS, {1: mine, 2: snapshot, 3: unit_size, 4: u32(0)})
    assert kind == wire.ERROR
    assert_learnt_nothing(line.heard)


def test_a_member_may_not_found_a_share_under_a_taken_name(world, line):
    kind, fields = line.ask_one(wire.CREATE_SHARE, {1: SECRET})
    assert kind == wire.ERROR
    assert world.owner.json("shares")[0]["rights"] == "write"


# -- to know a hash is no right to its content ----------------------------------------------------------------------------

def announce(line, key, statement, data, answer_unit):
    """Announces a snapshot of one file with DATA; gives the end of its intake, and whether bytes were asked for."""
    s = wire.Snapshot(key, statement, b"stolen", wire.chunk_of(data), len(data))
    line.serve = s.serve(answer_unit)
    kind, fields = line.ask_one(wire.ANNOUNCE, {1: s.share, 2: s.commit})
    assert kind == wire.OK, fields
    while (state := (end := line.wait_for(wire.PROGRESS))[3][0]) not in (wire.HEAD, wire.WITHDRAWN):
        pass
    return s, state, end


def test_a_snapshot_of_ones_own_bytes_becomes_the_head(world, line, mute):
    """That the liar below fails because it lies, and for nothing else."""
    statement = found_share(line, b"honest")
    data = os.urandom(5000)
    s, state, _ = announce(line, mute, statement, data, lambda w, stream: wire.unit_data(w, stream, data))
    assert state == wire.HEAD and s.asked_units == 1
    kind, fields = line.ask_one(wire.RESOLVE, {1: b"honest"})
    assert kind == wire.SNAPSHOT and fields[4] == s.commit


def secret_data(world):
    return (world.tmp / "src" / "secret-file").read_bytes()


def test_a_chunk_that_its_publisher_never_had_is_asked_for_and_missed(world, line, mute):
    """The server holds these bytes for somebody else; the liar knows their hash, and gets nothing."""
    statement = found_share(line, b"liar")
    s, state, end = announce(line, mute, statement, secret_data(world), wire.refuse_unit)
    assert s.asked_units > 0 and state == wire.WITHDRAWN
    kind, fields = line.ask_one(wire.RESOLVE, {1: b"liar"})
    assert kind == wire.ERROR
    kind, fields = line.ask_one(wire.GET_UNITS, {1: s.share, 2: s.id, 3: u32(65536), 4: u32(0)})
    assert kind == wire.ERROR
    assert_learnt_nothing(line.heard)


def test_a_snapshot_under_way_gives_its_bytes_to_nobody(world, line, mute):
    """Between announcement and head too: nothing is served that was not sent by whoever announced it."""
    statement = found_share(line, b"liar-in-between")
    data = secret_data(world)
    s = wire.Snapshot(mute, statement, b"stolen", wire.chunk_of(data), len(data))
    answers = []

    def probe(w, stream):
        w.send(wire.GET_UNITS, {1: s.share, 2: s.id, 3: u32(65536), 4: u32(0)}, 999)
        while True:
            kind, _, at, payload = w.frame()
            if at == 999:
                answers.append(kind)
                break
        wire.refuse_unit(w, stream)
    line.serve = s.serve(probe)
    assert line.ask_one(wire.ANNOUNCE, {1: s.share, 2: s.commit})[0] == wire.OK
    while line.wait_for(wire.PROGRESS)[3][0] != wire.WITHDRAWN:
        pass
    assert answers and set(answers) == {wire.ERROR}
    assert_learnt_nothing(line.heard)


def test_wrong_bytes_are_refused_and_end_the_connection(world, line, mute):
    statement = found_share(line, b"garbage")
    data = os.urandom(5000)
    with pytest.raises(Closed):
        announce(line, mute, statement, data, lambda w, stream: wire.unit_data(w, stream, os.urandom(5000)))
    w = Wire.dial(world.port, mute)
    w.hello()
    assert w.ask_one(wire.RESOLVE, {1: b"garbage"})[0] == wire.ERROR
    w.close()


def test_a_snapshot_signed_by_another_key_is_refused(world, line, stranger):
    statement = found_share(line, b"forged")
    s = wire.Snapshot(stranger, statement, b"f", bytes(32), 5)
    kind, fields = line.ask_one(wire.ANNOUNCE, {1: s.share, 2: s.commit})
    assert kind == wire.ERROR and fields[1] == u16(wire.DENIED)


def test_a_snapshot_whose_signature_does_not_hold_is_refused(world, line, mute):
    statement = found_share(line, b"tampered")
    s = wire.Snapshot(mute, statement, b"f", bytes(32), 5)
    commit = bytearray(s.commit)
    commit[-1] ^= 1
    assert line.ask_one(wire.ANNOUNCE, {1: s.share, 2: bytes(commit)})[0] == wire.ERROR
    assert line.ask_one(wire.RESOLVE, {1: b"tampered"})[0] == wire.ERROR


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc", b".weft", b".weft-stage", b"a\0b"],
                         ids=["up", "here", "empty", "slash", "absolute", "ours", "ours too", "nul"])
def test_a_manifest_with_a_name_that_leads_elsewhere_is_refused(world, line, mute, name):
    share = b"names-" + name.hex().encode()
    statement = found_share(line, share)
    data = b"x" * 10
    s = wire.Snapshot(mute, statement, name, wire.chunk_of(data), len(data))
    line.serve = s.serve(lambda w, stream: wire.unit_data(w, stream, data))
    assert line.ask_one(wire.ANNOUNCE, {1: s.share, 2: s.commit})[0] == wire.OK
    while (state := line.wait_for(wire.PROGRESS)[3][0]) not in (wire.HEAD, wire.WITHDRAWN):
        pass
    assert state == wire.WITHDRAWN
    assert line.ask_one(wire.RESOLVE, {1: share})[0] == wire.ERROR


@pytest.mark.parametrize("change", ["absurd size", "absurd count", "cycle", "duplicate", "another tree"])
def test_a_manifest_that_does_not_add_up_is_refused(world, line, mute, change):
    f = wire.formats
    share = change.replace(" ", "-").encode()
    statement = found_share(line, share)
    data = b"x" * 10
    chunk = wire.chunk_of(data)
    s = wire.Snapshot(mute, statement, b"f", chunk, len(data))
    value = b"\1" + f.mode_mtime(0o644, 0) + f.item(len(data), chunk)
    tree = {
        "absurd size": f.entry(b"f", b"\4" + f.mode_mtime(0o644, 0) + f.varint(1 << 49) + b"\1" + bytes(32))[0],
        "absurd count": f.entry(b"f", b"\2" + f.mode_mtime(0o755, 0) + f.varint(1 << 55) + f.varint(1 << 31)
                                + b"\1" + bytes(32))[0],
        "cycle": f.entry(b"f", b"\2" + f.mode_mtime(0o755, 0) + f.varint(10) + f.varint(1)
                         + wire.object_id(2, s.tree))[0],
        "duplicate": f.entry(b"f", value)[0] + f.entry(b"f", value)[0],
        "another tree": f.entry(b"g", value)[0] + f.entry(b"h", value)[0],
    }[change]
    s.nodes[wire.object_id(2, s.tree)] = bytes([1, 0, 1]) + tree
    if change in ("absurd size", "absurd count", "duplicate"):  # truthfully named, and signed
        real = wire.object_id(2, bytes([1, 0, 1]) + tree)
        commit = s.commit[:-66].replace(wire.object_id(2, s.tree), real)
        s.commit = commit + mute.sign(b"weft commit 1", commit)
        s.nodes[real] = bytes([1, 0, 1]) + tree
    line.serve = s.serve(lambda w, stream: wire.unit_data(w, stream, data))
    try:
        assert line.ask_one(wire.ANNOUNCE, {1: s.share, 2: s.commit})[0] in (wire.OK, wire.ERROR)
        while (state := line.wait_for(wire.PROGRESS)[3][0]) not in (wire.HEAD, wire.WITHDRAWN):
            pass
        assert state == wire.WITHDRAWN
    except Closed:
        pass  # who sends nodes that are not what they are called is cut off
    w = Wire.dial(world.port, mute)
    w.hello()
    assert w.ask_one(wire.RESOLVE, {1: share})[0] == wire.ERROR
    w.close()


# -- clocks ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("hours, word", [(24, b"ahead"), (-24, b"behind")])
def test_a_clock_far_off_is_refused_by_the_server_and_named(world, mute, hours, word):
    w = Wire.dial(world.port, mute)
    w.hello(wall_ms=int(time.time() * 1000) + hours * 3600 * 1000)
    frames = w.until_closed()
    text = wire.decode(frames[-1][3])[2]
    assert frames[-1][0] == wire.ERROR and b"clock" in text and word in text


def test_a_clock_a_minute_off_is_fine(world, mute):
    w = Wire.dial(world.port, mute)
    w.hello(wall_ms=int(time.time() * 1000) - 60000)
    assert w.ask_one(wire.QUERY, {1: b"\1"})[0] == wire.ROWS
    w.close()


@pytest.mark.parametrize("ahead_s, state", [(1, "ok"), (600, "warn"), (-600, "warn"), (24 * 3600, "fail")])
def test_a_server_whose_clock_is_off_is_named_by_the_agent(tmp_path, ahead_s, state):
    """The server's key in our hands: it says that it is later, or earlier."""
    net = Net(tmp_path)
    net.start_server()
    agent = net.agent("a")
    agent.wait_for_link()
    assert net.server.stop() == 0
    key = Key(tmp_path / "key", pem=net.server.home / "device.key")
    listener = socket.create_server(("127.0.0.1", net.port), reuse_port=False)
    listener.settimeout(wire.LIMIT_S)
    raw, _ = listener.accept()
    c = wire.context(key, server=True)
    c.verify_mode = ssl.CERT_NONE
    w = Wire(c.wrap_socket(raw, server_side=True))
    w.hello(wall_ms=int(time.time() * 1000) + ahead_s * 1000)
    if state == "fail":
        w.until_closed()
        why = wait_until("the agent says why", lambda: (s := agent.json("status").get("why", "")) and "clock" in s and s)
        assert "behind" in why
    status = wait_until("the clock is shown", lambda: (s := agent.json("status")).get("clock_off", 0) >= 500 and s)
    assert abs(status["clock_off"] / 1000 - abs(ahead_s)) < 30 and status["clock_ahead"] == (ahead_s < 0)
    doctor = agent.run("doctor", "--json", check=False)
    assert (doctor.returncode == FAILED) == (state == "fail")
    found = [c for c in json.loads(doctor.stdout) if c["check"] == "clock" and "server" in c["text"]]
    assert [c["state"] for c in found] == [state], found
    w.close()
    listener.close()
    assert net.close() == []


# -- somebody in the middle -----------------------------------------------------------------------------------------------

def test_another_server_at_the_address_of_the_invite_is_noticed(tmp_path):
    net = Net(tmp_path)
    net.start_server()
    invite = net.invite()
    agent = net.agent("a")
    assert net.server.stop() == 0
    false = Node(tmp_path, "false-server")
    net.nodes.append(false)
    false.start("server", "--listen", f"127.0.0.1:{net.port}", "--advertise", f"127.0.0.1:{net.port}")
    joiner = Node(tmp_path, "joiner")
    said = joiner.fails(DENIED, "join", invite)
    assert "who answers is" in said and "in between" in said
    # Nothing was given away: the invite still works where it belongs.
    wait_until("the member says why", lambda: "who answers is" in agent.json("status").get("why", ""))
    assert agent.json("status")["connected"] is False
    assert false.stop() == 0
    net.server.start()
    joiner.run("join", invite)
    agent.restart()  # or wait for half a minute
    agent.wait_for_link()
    assert net.close() == []


def test_somebody_who_passes_bytes_on_learns_no_name(tmp_path):
    """What a wire-tap sees is TLS records and nothing of what is in them."""
    net = Net(tmp_path)
    net.start_server(relay=True)
    seen = []
    relay_move = net.relay.move

    def tap(s, room):
        before = s.recv
        n = int(min(room[net.relay.pairs[s][1]], 1 << 16))
        if n > 0:
            try:
                seen.append(before(n, socket.MSG_PEEK))
            except OSError:
                pass
        relay_move(s, room)
    net.relay.move = tap
    owner = net.agent("owner-name")
    write(tmp_path / "src" / "secret-file", NAMES[3] * 1000)
    owner.json("publish", tmp_path / "src", "--share", SECRET.decode())
    owner.json("get", SECRET.decode(), tmp_path / "dest")
    assert len(seen) > 10
    assert_learnt_nothing(b"".join(seen))
    assert net.close() == []


# -- invites --------------------------------------------------------------------------------------------------------------

def test_a_used_invite_is_refused(world, tmp_path):
    invite = world.invite()
    Node(tmp_path, "first").run("join", invite, "--name", "first")
    said = Node(tmp_path, "second").fails(DENIED, "join", invite)
    assert "used" in said and "weft invite" in said


def test_an_invite_for_two_serves_two(world, tmp_path):
    invite = world.invite("--uses", "2")
    for name in ("u1", "u2"):
        Node(tmp_path, name).run("join", invite, "--name", name)
    Node(tmp_path, "u3").fails(DENIED, "join", invite)


def test_an_expired_invite_is_refused(world, tmp_path):
    invite = world.invite("--expires", "1s")
    time.sleep(1.2)
    assert "expired" in Node(tmp_path, "late").fails(DENIED, "join", invite)


@pytest.mark.parametrize("spoil", [lambda t: t[:-1], lambda t: t[:40] + ("b" if t[40] != "b" else "c") + t[41:], lambda t: "weft1-",
                                   lambda t: t + "aa", lambda t: "x" + t], ids=["short", "changed", "empty", "long", "prefix"])
def test_a_mistyped_invite_is_named_as_that_and_nothing_is_dialled(world, tmp_path, spoil):
    said = Node(tmp_path, "typo").fails(2, "join", spoil(world.invite()))
    assert "invite" in said


def test_an_invite_of_a_server_that_is_not_there_says_so(world, tmp_path):
    lost = Net(tmp_path)
    lost.start_server()
    invite = lost.invite()
    assert lost.close() == []
    r = Node(tmp_path, "early").run("join", invite, check=False)
    assert r.returncode == FAILED
    assert str(lost.port) in one_line(r.stderr)


def test_an_invite_gives_the_access_it_names_and_no_other(world, tmp_path):
    guest = world.agent("guest", "--share", SECRET.decode() + ":read")
    assert [s["rights"] for s in guest.json("shares")] == ["read"]
    guest.json("get", SECRET.decode(), tmp_path / "got")
    assert (tmp_path / "got" / "secret-file").read_bytes() == secret_data(world)
    said = guest.fails(DENIED, "publish", tmp_path / "got", "--share", SECRET.decode())
    assert "read-only" in said and "weft grant" in said


# -- the machine ----------------------------------------------------------------------------------------------------------

def test_what_is_secret_in_a_home_is_for_its_owner(world):
    for node in (world.server, world.owner):
        assert node.home.stat().st_mode & 0o077 == 0
        for name in ("device.key", "control.sock"):
            assert (node.home / name).stat().st_mode & 0o077 == 0
    for secret in list(world.server.home.glob("*recovery*")) + [world.server.home / "invite.txt"]:
        assert secret.stat().st_mode & 0o077 == 0
