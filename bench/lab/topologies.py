"""Topologies as plain data.  Rates are Mbit/s on the wire; None is unshaped.

{"name", "file_mib" | "data": {"kind", ...} (see data.py), "limit_s",
 "offices": {office: {"wan_up", "wan_down", "delay_ms", "loss"}},   # a single office is a plain LAN without a line
 "hosts":   {host: {"office", "up", "down", "delay_ms", "loss"}},   # "seed" is the origin
 "events":  [{"at": seconds | "seed_sent": copies of the payload, "kill": [hosts], "rate": {host: {"up", "down"}}}]}
"""
import math
import random

RANDOM_S = 10  # what the bound of a topology at random comes to, nearly


def flat(name, n, mib, up, down, seed_up=None, seed_down=None, events=()):
    """One LAN."""
    hosts = {"seed": {"office": "lan", "up": seed_up or up, "down": seed_down or down}}
    hosts.update({f"p{i}": {"office": "lan", "up": up, "down": down} for i in range(1, n + 1)})
    return {"name": name, "file_mib": mib, "offices": {"lan": {}}, "hosts": hosts, "events": list(events)}


def offices(name, mib, lan, wan, hq_peers, remote, peers, delay_ms=0, loss=0):
    """Offices with equal lines; the origin is in "hq"."""
    names = ["hq", *(f"o{i}" for i in range(1, remote + 1))]
    lines = {o: {"wan_up": wan, "wan_down": wan, "delay_ms": delay_ms, "loss": loss} for o in names}
    hosts = {"seed": {"office": "hq", "up": lan, "down": lan}}
    for o in names:
        for i in range(1, (hq_peers if o == "hq" else peers) + 1):
            hosts[f"{o}p{i}"] = {"office": o, "up": lan, "down": lan}
    return {"name": name, "file_mib": mib, "offices": lines, "hosts": hosts, "events": []}


def pair(name, data=None, file_mib=None, rate=None, delay_ms=0, loss=0, **more):
    """The origin and one peer, unshaped; or with a line of RATE between them that delays each way by DELAY_MS."""
    if not rate:
        topo = {"offices": {"lan": {}}, "hosts": {h: {"office": "lan", "up": None, "down": None} for h in ("seed", "p1")}}
    else:
        line = {"wan_up": rate, "wan_down": rate, "delay_ms": delay_ms, "loss": loss}
        topo = {"offices": {"hq": {}, "far": line}, "hosts": {"seed": {"office": "hq", "up": None, "down": None},
                                                               "p1": {"office": "far", "up": None, "down": None}}}
    topo |= {"data": data} if data else {"file_mib": file_mib}
    return {"name": name, "events": [], **topo, **more}


def any_of(seed):
    """A topology that nobody chose: "random-SEED" is the same one every time.

    One LAN of unlike uplinks, or offices of unlike sizes and lines; the file is as large as makes some ten seconds of it.
    """
    rng = random.Random(seed)
    topo = _random_lan(rng) if rng.random() < 0.35 else _random_offices(rng)
    topo |= {"name": f"random-{seed}", "events": [], "file_mib": 1}
    topo["file_mib"] = max(8, min(96, round(RANDOM_S / bounds(topo)["all"])))
    return topo


def _random_lan(rng):
    up = rng.choice((10, 20, 40))
    hosts = {"seed": {"office": "lan", "up": rng.choice((50, 100)), "down": 100}}
    for i in range(1, rng.randrange(4, 17)):
        mine = up * rng.choice((1, 1, 1, 2, 0.5))
        hosts[f"p{i}"] = {"office": "lan", "up": mine, "down": rng.choice((60, 100))}
    return {"offices": {"lan": {}}, "hosts": hosts}


def _random_offices(rng):
    lan, names = rng.choice((100, 200, 400)), ["hq", *(f"o{i}" for i in range(1, rng.randrange(2, 6)))]
    delay = rng.choice((0, 0, 5, 15))
    lines = {}
    for o in names:
        down = rng.choice((10, 20, 40, 60))
        lines[o] = {"wan_up": max(5, round(down * rng.choice((0.5, 1, 1)))), "wan_down": down, "delay_ms": delay, "loss": 0}
    hosts = {"seed": {"office": "hq", "up": lan, "down": lan}}
    for o in names:
        for i in range(1, rng.randrange(1, 7) + 1):
            hosts[f"{o}p{i}"] = {"office": o, "up": lan, "down": lan}
    return {"offices": lines, "hosts": hosts}


def payload(topo):
    """Bytes that a peer must get."""
    kind = topo.get("data")
    if not kind:
        return topo["file_mib"] << 20
    return kind["count"] * kind["size"] if kind["kind"] == "files" else kind["mib"] << 20


def _limits(spec):
    """Of a host or a line; what has no limit has an infinite one."""
    return spec | {k: spec.get(k) or math.inf for k in ("up", "down", "wan_up", "wan_down")}


def _alive(topo, hosts):
    dead = {host for e in topo["events"] for host in e.get("kill", ())}
    return {n: h for n, h in hosts.items() if n != "seed" and n not in dead}


def bounds(topo):
    """Fluid lower bounds in seconds, headers not counted: {"all": best possible, "hq": if every remote office's only copy
    leaves the origin's office, "cs": if every copy comes from the seed}; None if unshaped.

    Who is killed is not counted among the receivers, but its uplink is: the bound does not know when.
    """
    hosts, lines = ({n: _limits(spec) for n, spec in topo[what].items()} for what in ("hosts", "offices"))
    peers, seed = _alive(topo, hosts), hosts["seed"]
    size = payload(topo) * 8 / 1e6
    best = [size / seed["up"], size / min(h["down"] for h in peers.values()),
            len(peers) * size / sum(h["up"] for h in hosts.values())]
    central = [best[0], best[1], len(peers) * size / seed["up"]]
    home = seed["office"]
    remote = {o: [h for h in peers.values() if h["office"] == o] for o in lines if o != home}
    remote = {o: mine for o, mine in remote.items() if mine}
    hq = []
    if remote:
        exports = {o: min(lines[o]["wan_up"], sum(h["up"] for h in hosts.values() if h["office"] == o)) for o in lines}
        for o, mine in remote.items():
            best += [size / lines[o]["wan_down"], len(mine) * size / (lines[o]["wan_down"] + sum(h["up"] for h in mine))]
            central.append(len(mine) * size / lines[o]["wan_down"])
        best += [size / exports[home], len(remote) * size / sum(exports.values())]
        hq = [len(remote) * size / exports[home]]
        central.append(sum(map(len, remote.values())) * size / lines[home]["wan_up"])
    if not max(best) or topo.get("data", {}).get("kind") == "versions":
        return None  # nothing is limited, or most of it is there already
    return {"all": max(best), "hq": max(best + hq), "cs": max(central)}


FILES = {"kind": "files", "count": 100_000, "size": 10_000}

ALL = {t["name"]: t for t in [
    flat("flat-12", 12, 64, 50, 50),
    flat("flat-24", 24, 32, 20, 20),
    flat("asym", 10, 64, 20, 100, seed_up=100, seed_down=100),
    offices("offices", 48, 400, 40, 3, 3, 5),
    offices("offices-rtt", 48, 400, 40, 3, 3, 5, delay_ms=10),  # 20 ms to the core and back, 40 ms office to office
    flat("churn-peers", 12, 64, 50, 50, events=[{"at": 3.0, "kill": ["p3", "p6", "p9", "p12"]}]),
    flat("churn-seed", 12, 64, 50, 50, events=[{"seed_sent": 1.1, "kill": ["seed"]}]),
    pair("one2one", file_mib=2048, limit_s=120),
    pair("long-0.1", file_mib=128, rate=100, delay_ms=50, loss=0.001, limit_s=150),
    pair("long-1", file_mib=128, rate=100, delay_ms=50, loss=0.01, limit_s=150),
    pair("files-lan", FILES, limit_s=120),
    pair("files-rtt", FILES, rate=100, delay_ms=50, limit_s=400),
    pair("versions", {"kind": "versions", "mib": 1024, "places": 200}, limit_s=120),
    flat("flat-12-half", 12, 32, 25, 25),  # flat-12 at half the rate: is CPU the limit there?
    flat("smoke", 3, 8, 50, 50),
]}


def named(name):
    """One of ALL, or "random-SEED"."""
    if name.startswith("random-"):
        return any_of(int(name[len("random-"):]))
    if name not in ALL:
        raise KeyError(f"no topology {name}: {', '.join(ALL)}, random-SEED")
    return ALL[name]
