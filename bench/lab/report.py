"""The table of docs/benchmarks.md, from the records of runs: medians, and the spread in brackets."""
import json
import os
import pathlib
import statistics
import subprocess

import topologies

BEGIN, END = "<!-- lab: begin -->", "<!-- lab: end -->"
FLOOR = 1514 / 1448  # the least that headers alone make of a ratio


def load(path):
    """topology -> tool -> records; those with "void", the reason why a run does not count, are left out."""
    out = {}
    for line in pathlib.Path(path).read_text().splitlines():
        r = json.loads(line)
        if "void" not in r:
            out.setdefault(r["topo"], {}).setdefault(r["tool"], []).append(r)
    return out


def spread(values, digits=2):
    """The median, and least and most when there are several."""
    values = [v for v in values if v is not None]
    if not values:
        return "-"
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def finished(rows):
    return [r for r in rows if r["t_all"]]


def unfinished(rows):
    """What to say of the runs that did not end; nothing when all did."""
    bad = [r for r in rows if not r["t_all"]]
    return "" if not bad else f"; {len(bad)} of {len(rows)} did not finish" if len(bad) < len(rows) else "did not finish"


def cell(rows, key, digits=2):
    """Median and spread of the runs that finished, and how many did not."""
    good = finished(rows)
    return (spread([r[key] for r in good], digits) if good else "") + unfinished(rows)


# -- columns: heading, and what stands there

def worst_line(r):
    """The most copies of payload that a line of another office carried in; by the interface where the tool does not tell."""
    home = topologies.named(r["topo"])["hosts"]["seed"]["office"]
    lines = r.get("line_payload") or r["line"]
    return max((ways["in"] for office, ways in lines.items() if office != home), default=None)


def home_line(r):
    home = topologies.named(r["topo"])["hosts"]["seed"]["office"]
    return (r.get("line_payload") or r["line"]).get(home, {}).get("out")


def origin(r):
    return r.get("origin_copies", r["seed_up"])


SWARM = [("seconds", lambda rs: cell(rs, "t_all")), ("of the bound", lambda rs: cell(rs, "ratio")),
         ("mean peer, s", lambda rs: spread([r["t_mean"] for r in rs])), ("origin, copies", lambda rs: spread(map(origin, rs)))]
LINES = [("into an office, copies", lambda rs: spread(map(worst_line, rs))),
         ("out of the origin's", lambda rs: spread(map(home_line, rs)))]
PAIR = [("seconds", lambda rs: cell(rs, "t_all")), ("Mbit/s", lambda rs: spread([r["mbit_s"] for r in rs], 0))]
FILES = [("files/s", lambda rs: spread([count(r) / r["t_all"] for r in finished(rs)], 0))]
VERSIONS = [("seconds", lambda rs: cell(rs, "t_all")), ("received, MiB", lambda rs: mib(rs, "received")),
            ("sent by the peer, MiB", lambda rs: mib(rs, "sent_by_peers"))]
COST = [("CPU s/GiB", lambda rs: spread([r["cpu_per_gib"] for r in rs], 1)),
        ("largest process, MiB", lambda rs: spread([r["rss_process_mib"] for r in rs], 0)),
        ("others' CPU", lambda rs: f"{100 * statistics.median(r['cpu_others'] for r in rs):.0f} %"),
        ("runs", lambda rs: str(len(rs)))]


def count(r):
    return topologies.named(r["topo"])["data"]["count"]


def mib(rows, key):
    return spread([r[key] / 2**20 for r in rows], 1)


def columns(topo):
    kind = topo.get("data", {}).get("kind")
    if kind == "versions":
        return VERSIONS + COST
    if len(topo["hosts"]) == 2:
        return PAIR + (FILES if kind == "files" else []) + COST
    return SWARM + (LINES if len(topo["offices"]) > 1 else []) + COST


# -- text

def about(topo):
    b, peers = topologies.bounds(topo), len(topo["hosts"]) - 1
    text = f"{peers} peers, " if peers > 1 else "One peer, "
    text += f"{topologies.payload(topo) / 2**20:.0f} MiB. "
    if not b:
        return text + "Unshaped: the machine is the limit."
    text += f"Bound {b['all']:.2f} s"
    if b["hq"] > b["all"]:
        text += f"; if each office's only copy came out of the origin's {b['hq']:.2f} s"
    return text + (f"; every copy from the origin {b['cs']:.2f} s." if b["cs"] > b["all"] else ".")


def section(name, tools):
    topo = topologies.named(name)
    heads = columns(topo)
    out = [f"### {name}", "", about(topo), "", "| tool | " + " | ".join(h for h, _ in heads) + " |",
           "|---" * (len(heads) + 1) + "|"]
    order = sorted(tools, key=lambda t: (not finished(tools[t]), statistics.median(
        [r["t_all"] for r in finished(tools[t])] or [0]), t))
    return out + [f"| {t} | " + " | ".join(show(tools[t]) for _, show in heads) + " |" for t in order] + [""]


def summary(runs):
    """All ratios on one page."""
    names = [n for n in runs if topologies.bounds(topologies.named(n)) and len(topologies.named(n)["hosts"]) > 2]
    if not names:
        return []
    tools = sorted({t for n in names for t in runs[n]}, key=lambda t: (not t.startswith("weft"), t))
    out = [f"Time of the last peer over the bound, medians; headers alone make {FLOOR:.3f} of it.", "",
           "| tool | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for t in tools:
        out.append(f"| {t} | " + " | ".join(short(runs[n].get(t)) for n in names) + " |")
    return out + [""]


def short(rows):
    if not rows:
        return ""
    good = finished(rows)
    text = f"{statistics.median(r['ratio'] for r in good):.2f}" if good else "no finish"
    return text + (f" ({len(rows) - len(good)} of {len(rows)} not)" if good and len(good) < len(rows) else "")


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "?")
    version = subprocess.run(["ip", "-V"], capture_output=True, text=True).stdout.strip()
    return f"{os.cpu_count()} cores of {cpu}, kernel {os.uname().release}, {version}"


def text(runs, where=None):
    """The whole table, in the order of the topologies."""
    order = [n for n in topologies.ALL if n in runs] + sorted(n for n in runs if n not in topologies.ALL)
    runs = {n: runs[n] for n in order}
    rows = [r for tools in runs.values() for rs in tools.values() for r in rs]
    days = sorted({r["when"][:10] for r in rows})
    versions = {r["tool"]: r["version"] for r in rows}
    out = [f"{where or machine()}; {days[0]}{' to ' + days[-1] if len(days) > 1 else ''}. "
           + "; ".join(f"{t}: {v}" for t, v in sorted(versions.items())) + ".", "", *summary(runs)]
    for name, tools in runs.items():
        out += section(name, tools)
    return "\n".join(out).rstrip() + "\n"


def write(records, document):
    """Put the table between the two marks of the document."""
    document = pathlib.Path(document)
    old = document.read_text()
    if BEGIN not in old or END not in old:
        raise RuntimeError(f"{document} has no {BEGIN} and {END}")
    head, tail = old.split(BEGIN)[0], old.split(END)[1]
    document.write_text(f"{head}{BEGIN}\n\n{text(load(records))}\n{END}{tail}")
