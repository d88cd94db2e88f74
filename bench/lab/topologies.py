"""Topologies as plain data.  Rates are Mbit/s on the wire; None is unshaped.

{"name", "file_mib",
 "offices": {office: {"wan_up", "wan_down", "delay_ms", "loss"}},   # a single office is a plain LAN without a line
 "hosts":   {host: {"office", "up", "down", "delay_ms", "loss"}},   # "seed" is the origin
 "events":  [{"at": seconds | "seed_sent": copies of the payload, "kill": [hosts], "rate": {host: {"up", "down"}}}]}
"""


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


def _alive(topo):
    dead = {host for e in topo["events"] for host in e.get("kill", ())}
    return {n: h for n, h in topo["hosts"].items() if n != "seed" and n not in dead}


def bounds(topo):
    """Fluid lower bounds in seconds, headers not counted: {"all": best possible, "hq": if every remote office's only copy
    leaves the origin's office, "cs": if every copy comes from the seed}; None if unshaped.

    Who is killed is not counted among the receivers, but its uplink is: the bound does not know when.
    """
    hosts, lines = topo["hosts"], topo["offices"]
    if any(not h.get("up") or not h.get("down") for h in hosts.values()):
        return None
    size = topo["file_mib"] * 2**20 * 8 / 1e6
    peers, seed = _alive(topo), hosts["seed"]
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
    return {"all": max(best), "hq": max(best + hq), "cs": max(central)}


ALL = {t["name"]: t for t in [
    flat("flat-12", 12, 64, 50, 50),
    flat("flat-24", 24, 32, 20, 20),
    flat("asym", 10, 64, 20, 100, seed_up=100, seed_down=100),
    offices("offices", 48, 400, 40, 3, 3, 5),
    offices("offices-rtt", 48, 400, 40, 3, 3, 5, delay_ms=10),  # 20 ms to the core and back, 40 ms office to office
    flat("churn-peers", 12, 64, 50, 50, events=[{"at": 3.0, "kill": ["p3", "p6", "p9", "p12"]}]),
    flat("churn-seed", 12, 64, 50, 50, events=[{"seed_sent": 1.1, "kill": ["seed"]}]),
    {"name": "one2one", "file_mib": 2048, "offices": {"lan": {}}, "events": [],
     "hosts": {h: {"office": "lan", "up": None, "down": None} for h in ("seed", "p1")}},
    flat("flat-12-half", 12, 32, 25, 25),  # flat-12 at half the rate: is CPU the limit there?
    flat("smoke", 3, 8, 50, 50),
]}
