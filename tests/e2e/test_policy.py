"""A share's policy: what it begins with, who changes it, who hears of it, what it outlasts."""
import json
import sqlite3

import pytest

from weft import FAILED, PATIENCE, USAGE, Net, assert_same, hidden_left, make_files, wait_until, write

POLICY = 8  # docs/format-statement.md
SIZE = 8 << 20
TALK = 32 << 10  # bytes; what members may say to each other: not so much as one leaf


@pytest.fixture
def owned(net, tmp_path):
    net.src = make_files(tmp_path / "src", 1 << 20)
    net.owner = net.agent("owner")
    return net


def policies(agent):
    return {s["share"]: s["policy"] for s in agent.json("shares")}


def known(agent):
    """The policies in the POLICY statements that a stopped agent has kept, in the order of their issue."""
    db = sqlite3.connect(agent.home / "state.db")
    found = [bytes(b) for (b,) in db.execute("SELECT bytes FROM statement") if bytes(b)[1] == POLICY]
    db.close()
    # version, kind, authority 32, epoch 8, issued 8, expires 8, share 33, policy
    return [b[91] for b in sorted(found, key=lambda b: b[34:42][::-1] + b[42:50][::-1])]


def test_a_share_begins_as_its_publisher_says_and_goes_on_as_the_server_says(owned, tmp_path):
    owner, server = owned.owner, owned.server
    owner.json("publish", owned.src, "--share", "tree")
    owner.json("publish", owned.src, "--share", "private", "--policy", "central")
    assert policies(owner) == {"tree": "hybrid", "private": "central"}
    assert server.json("policy", "tree") == {"share": "tree", "policy": "hybrid"}
    assert server.run("policy", "private").stdout == "private is central\n"
    reader = owned.agent("reader", "--share", "tree:read")
    assert server.json("policy", "tree", "central") == {"share": "tree", "policy": "central"}
    assert policies(owner)["tree"] == policies(reader)["tree"] == "central"
    # the same again says nothing new
    assert server.json("policy", "tree", "central")["policy"] == "central"
    reader.stop()
    assert known(reader) == [1]
    server.run("policy", "tree", "hybrid")
    reader.start()
    reader.wait_for_link()
    reader.json("get", "tree", tmp_path / "dest")
    reader.stop()
    assert known(reader) == [1, 2]
    reader.start()


def test_a_policy_is_for_a_new_share_and_for_the_administrator(owned, tmp_path):
    owner, server = owned.owner, owned.server
    assert "central|hybrid" in owner.fails(USAGE, "publish", owned.src, "--share", "tree", "--policy", "serverless")
    owner.json("publish", owned.src, "--share", "tree", "--policy", "central")
    assert "weft policy tree hybrid" in owner.fails(USAGE, "publish", owned.src, "--share", "tree", "--policy", "hybrid")
    owner.json("publish", owned.src, "--share", "tree", "--policy", "central")
    assert "server" in owner.fails(USAGE, "policy", "tree", "hybrid")
    assert "no-share" in server.fails(FAILED, "policy", "no-share")
    server.fails(USAGE, "policy", "tree", "serverless")
    server.run("policy", "tree", "hybrid")
    # whoever is connected has heard of it
    owner.json("publish", owned.src, "--share", "tree", "--policy", "hybrid")


def test_a_policy_outlasts_restarts_and_a_new_key_and_not_its_share(owned, tmp_path):
    owner, server = owned.owner, owned.server
    owner.json("publish", owned.src, "--share", "tree")
    server.run("policy", "tree", "central")
    server.restart()
    assert server.json("policy", "tree")["policy"] == "central"
    assert server.stop() == 0
    usual = list(server.arguments)
    server.start(*usual, "--recover", server.home / "recovery.key")
    server.arguments = usual
    assert server.json("policy", "tree")["policy"] == "central"
    device = server.json("status")["device"]
    wait_until("owner follows", lambda: (s := owner.json("status"))["server_device"] == device and s["connected"])
    # it heard what the new key says of it
    assert owner.json("publish", owned.src, "--share", "tree", "--policy", "central")["unchanged"]
    server.run("rm", "tree")
    write(owned.src / "more", b"more")
    owner.json("publish", owned.src, "--share", "tree")
    assert server.json("policy", "tree")["policy"] == "hybrid"


# -- in the middle of a get ------------------------------------------------------------------------------------------------

class Members(Net):
    """Two that hold all of `tree`, and two that will get it; all are slow, the server until it is hurried."""

    def __init__(self, base, policy):
        super().__init__(base)
        self.start_server()
        self.src = make_files(base / "src", SIZE)
        self.owner = self.agent("owner")
        self.owner.json("publish", self.src, "--share", "tree", "--policy", policy)
        self.server.run("grant", "tree", "--all", "read")
        seed = self.agent("seed", start=False)
        self.limit(seed)
        seed.json("get", "tree", base / "dest-seed")
        self.owner.stop()
        self.limit(self.owner)
        self.readers = [self.agent(name, start=False) for name in ("reader", "other")]
        for r in self.readers:
            self.limit(r)
        self.members = [self.owner, seed, *self.readers]
        self.hurry("--up-limit", "2Mbit")

    def hurry(self, *limit):
        """The server gives as quickly as it can; or LIMIT."""
        usual = list(self.server.arguments)
        assert self.server.stop() == 0
        self.server.start(*usual, *limit)
        self.server.arguments = usual
        for m in self.members:
            m.wait_for_link()

    def limit(self, agent):
        agent.start("agent", "--listen", "127.0.0.1:0", "--name", agent.name, "--up-limit", "2Mbit")
        agent.wait_for_link()

    def dest(self, reader):
        return self.base / f"dest-{reader.name}"

    def get(self, what="tree"):
        return [r.begin("get", what, self.dest(r), "--json") for r in self.readers]

    def change(self, policy):
        """Whoever is connected knows of it then: what the server says comes in its order."""
        self.server.run("policy", "tree", policy)
        for m in self.members:
            assert policies(m)["tree"] == policy

    def moved(self):
        """Bytes on the connections between members, either way."""
        rows = [p for m in self.members for p in m.json("peers") if not p.get("server")]
        return sum(p.get("bytes_in", 0) + p.get("bytes_out", 0) for p in rows)

    def settled(self):
        """The same, once what was on the line has come."""
        seen = [-1]

        def still():
            seen.append(self.moved())
            return seen[-1] == seen[-2]
        wait_until("nothing moves between members", still)
        return seen[-1]

    def sources(self, commands):
        """How much came from whom; all is there, and counted once."""
        told = []
        for r, c in zip(self.readers, commands):
            out, err = c.communicate(timeout=PATIENCE * 2)
            assert c.returncode == 0, err
            assert_same(self.src, self.dest(r))
            assert not hidden_left(self.dest(r))
            value = json.loads(out)
            told.append({s["name"]: s["bytes"] for s in value["sources"]})
            assert sum(told[-1].values()) == value["bytes_fetched"]
        return told


@pytest.fixture
def members(tmp_path, request):
    net = Members(tmp_path, request.param)
    yield net
    assert net.close() == []


@pytest.mark.parametrize("members", ["hybrid"], indirect=True)
def test_from_central_on_nothing_of_a_get_comes_from_members(members):
    commands = members.get()
    wait_until("members give", lambda: members.moved() > SIZE // 8)
    members.change("central")
    before = members.settled()
    for r in members.readers:
        assert r.job()["state"] == "running"
        assert r.json("why", "tree")["cause"] == "central"
    for m in members.members[:2]:
        m.fails(FAILED, "why", "tree")  # it gives nothing of it
    members.hurry()
    came = members.sources(commands)
    assert members.moved() - before < TALK
    assert all(c["spine"] > SIZE // 4 and len(c) > 1 for c in came), came


@pytest.mark.parametrize("members", ["central"], indirect=True)
def test_a_get_that_was_central_when_it_began_goes_on(members):
    commands = members.get()
    for r in members.readers:
        r.wait_for_moved(SIZE // 16)
    members.change("hybrid")
    members.hurry()
    assert all(list(c) == ["spine"] for c in members.sources(commands))
    # the next one asks members
    late = members.agent("late")
    came = late.json("get", "tree", members.base / "late")["sources"]
    assert {s["name"] for s in came} - {"spine"}
    assert_same(members.src, members.base / "late")


# -- before it is the head -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("then", ["central", "hybrid"])
def test_a_policy_that_changes_while_a_snapshot_is_only_announced(tmp_path, then):
    """A reader has begun to take it from its author: it ends up with all of it, whatever the policy has become."""
    net = Net(tmp_path)
    net.start_server()
    src = make_files(tmp_path / "src", SIZE)
    owner, reader = net.agent("owner", start=False), net.agent("reader")
    owner.start("agent", "--listen", "127.0.0.1:0", "--name", "owner", "--up-limit", "2Mbit")
    published = owner.begin("publish", src, "--share", "tree", "--policy", "hybrid")
    wait_until("the share is there",
               lambda: net.server.run("grant", "tree", "--all", "read", check=False).returncode == 0)
    get = reader.begin("get", "tree", tmp_path / "dest", "--json")
    reader.wait_for_moved(SIZE // 16)
    assert published.poll() is None  # announced, and no more than that
    net.server.run("policy", "tree", "central")
    if then == "hybrid":
        net.server.run("policy", "tree", "hybrid")
    assert owner.stop() == 0
    assert published.wait(PATIENCE) != 0  # the command goes with the daemon, the job stays
    owner.start("agent", "--listen", "127.0.0.1:0", "--name", "owner")
    out, err = get.communicate(timeout=PATIENCE * 2)
    assert get.returncode == 0, err
    assert_same(src, tmp_path / "dest")
    told = {s["name"]: s["bytes"] for s in json.loads(out)["sources"]}
    if then == "central":
        assert told["spine"] > 0, told
    owner.wait_for_jobs()
    assert net.server.json("policy", "tree")["policy"] == then
    assert net.close() == []
