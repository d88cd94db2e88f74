"""Many connections: how many there may be, who has to go when there are more, and that the others do not notice.
docs/threat-model.md, claims 5 and 20."""
import resource
import ssl

import pytest

import wire
from weft import Net, wait_until
from wire import Closed, Key, Wire, u16, u64

AGAIN = 1
PER_DEVICE, GUESTS, TRIES = 16, 256, 8


@pytest.fixture
def member(net, tmp_path):
    """The key of a device that has joined, whose connections are ours to make."""
    return Key(tmp_path / "member", pem=net.agent("member", start=False).home / "device.key")


def line(net, key):
    w = Wire.dial(net.port, key)
    w.hello()
    return w


def last_error(w):
    """What the server said before it hung up."""
    frames = [f for f in w.until_closed() if f[0] == wire.ERROR]
    assert len(frames) == 1
    return wire.decode(frames[0][3])


def asks(w):
    return w.ask_one(wire.QUERY, {1: b"\3"})[0]


def joins(net, name):
    """Somebody new can still come in, and is served."""
    return net.agent(name).json("status")["connected"]


def test_a_device_has_so_many_connections_and_its_oldest_goes(net, member):
    lines = [line(net, member) for _ in range(PER_DEVICE)]
    assert all(asks(w) == wire.ROWS for w in lines)
    more = line(net, member)
    assert asks(more) == wire.ROWS
    assert last_error(lines[0])[1] == u16(AGAIN)
    assert all(asks(w) == wire.ROWS for w in lines[1:])
    device, = [d for d in net.server.json("devices") if d["name"] == "member"]
    assert device["online"]


def test_guests_who_only_sit_there_keep_nobody_out(net, tmp_path):
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    stranger = Key(tmp_path / "stranger")
    guests = [line(net, stranger) for _ in range(GUESTS)]
    assert joins(net, "newcomer")
    gone = last_error(guests[0])
    assert gone[1] == u16(AGAIN) and b"joining" in gone[2]
    guests[-1].send(wire.PING, {1: u64(7)})
    assert guests[-1].frame()[0] in (wire.PING, wire.PONG)


def test_a_guest_who_guesses_is_cut_off(net, tmp_path):
    w = line(net, Key(tmp_path / "stranger"))
    tries = 0
    with pytest.raises(Closed):
        for tries in range(1000):
            got, fields = w.ask_one(wire.JOIN, {1: bytes(8), 2: bytes(32), 3: b"guess"})
            assert got == wire.ERROR and fields[1] == u16(wire.DENIED)
    assert tries == TRIES


def test_a_flood_of_refused_joins_does_not_fill_the_log(net, tmp_path):
    stranger = Key(tmp_path / "stranger")
    for _ in range(10):
        w = line(net, stranger)
        for _ in range(TRIES):
            w.ask_one(wire.JOIN, {1: bytes(8), 2: bytes(32), 3: b"guess"})
        w.close()
    assert net.server.tail(1 << 20).count("refused") <= 22   # 10 lines in 10 s, and this takes a moment


def knock(net, key):
    """A line that is good for something, or what the server said instead."""
    w = line(net, key)
    try:
        w.ask_one(wire.JOIN, {1: bytes(8), 2: bytes(32), 3: b"guess"})
        return w, None
    except Closed:
        (kind, fields), = w.pushed
        assert kind == wire.ERROR
        return w, fields


def test_at_the_limit_the_server_says_so_and_goes_on(tmp_path):
    """With few open files for it the limit is near: half of them are for connections."""
    net, files, inside, why = Net(tmp_path), 200, [], None
    net.start_server(hard_files=files)
    key = Key(tmp_path / "stranger")
    while why is None:
        w, why = knock(net, key)
        inside.append(w)
    assert why[1] == u16(AGAIN) and b"connections" in why[2]
    assert files // 2 - 2 <= len(inside) - 1 <= files // 2     # its own agent has one, and maybe not yet
    for w in inside[:20]:
        w.close()
    wait_until("there is room", lambda: joins_quietly(net))
    assert net.close() == []


def joins_quietly(net):
    try:
        return joins(net, f"late-{len(net.nodes)}")
    except AssertionError:
        return False


# -- a member that plays with its membership ----------------------------------------------------------------------------

def test_leaving_ends_all_connections_of_the_device(net, member):
    one, other = line(net, member), line(net, member)
    kind, _, = one.ask_one(wire.LEAVE, {})
    assert kind == wire.OK
    assert wire.BYE in [f[0] for f in one.until_closed()]
    assert last_error(other)[1] == u16(wire.DENIED)
    with pytest.raises((Closed, AssertionError, ssl.SSLError)):
        asks(line(net, member))      # it is a guest now
    assert joins(net, "somebody")


def test_leaving_on_two_lines_at_once_is_leaving_once(net, member):
    lines = [line(net, member) for _ in range(8)]
    for w in lines:
        w.send(wire.LEAVE, stream=1)
    kinds = [[f[0] for f in w.until_closed()] for w in lines]
    assert all(wire.OK in k or wire.ERROR in k for k in kinds)
    assert any(wire.OK in k for k in kinds)
    assert joins(net, "somebody")


def test_a_member_that_joins_again_is_told_what_it_holds(net, member):
    """The answer to its first JOIN may have been lost with the connection."""
    w = line(net, member)
    kind, fields = w.ask_one(wire.JOIN, {1: bytes(8), 2: bytes(32), 3: b"member"})
    assert kind == wire.JOINED and len(wire.items(fields[2])) == 2
    assert asks(w) == wire.ROWS
