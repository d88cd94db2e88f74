"""What `make lab` and `make lab-quick` measure: who runs where, how often.

Tools take turns within a round, so that whatever else the machine does hits all of them.  Who needs minutes for what others do
in seconds (a server that gives every copy itself, for which the bound "cs" says how long) runs once.
"""
SWARM = ("flat-12", "flat-24", "asym", "offices", "offices-rtt", "churn-peers", "churn-seed")
FAST_TOOLS = ("weft", "aria2", "libtorrent", "libtorrent-tuned", "libtorrent-tuned-64k", "libtorrent-tuned-nosuper", "uftp")
SLOW_TOOLS = ("weft-central", "transmission", "transmission-tcp", "syncthing", "nginx", "rsync")
ROUNDS = 3

FULL_PLAN = (
    (SWARM, FAST_TOOLS, ROUNDS),
    (SWARM, SLOW_TOOLS, 1),
    (("one2one",), ("weft", "nginx-tls", "nginx-tls-openssl", "nginx", "rsync", "syncthing"), ROUNDS),
    (("long-0.1", "long-1"), ("weft", "nginx-tls", "rsync"), ROUNDS),
    (("files-lan", "files-rtt"), ("weft", "rsync"), ROUNDS),
    (("versions",), ("weft", "rsync", "rsync-z"), ROUNDS),
)
QUICK_PLAN = (
    (("flat-12", "asym", "offices"), ("weft", "aria2", "libtorrent-tuned-64k"), 1),
    (("long-1",), ("weft", "nginx-tls"), 1),
    (("versions",), ("weft", "rsync-z"), 1),
)


def steps(plan, can):
    """(topology, tool) in the order to run; CAN says whether a tool runs there."""
    for names, tools, rounds in plan:
        for name in names:
            for _ in range(rounds):
                yield from ((name, tool) for tool in tools if can(name, tool))


def only(plan, topologies, tools):
    """What is left of the plan when it is about these alone: comma-separated names; "all" or none for everything."""
    def chosen(names, wanted):
        return names if wanted in (None, "all") else tuple(n for n in names if n in wanted.split(","))
    return [(chosen(names, topologies), chosen(who, tools), rounds) for names, who, rounds in plan]


def remaining(steps, runs):
    """The steps of which the records (topology -> tool -> records) have no run yet."""
    left = {name: {tool: len(rows) for tool, rows in tools.items()} for name, tools in runs.items()}
    for name, tool in steps:
        have = left.get(name, {}).get(tool, 0)
        if have:
            left[name][tool] = have - 1
        else:
            yield name, tool
