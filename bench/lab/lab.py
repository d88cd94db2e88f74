#!/usr/bin/env python3
"""The network lab: tools that bring one file to many machines, side by side on the same shaped network.

    lab.py list                                             tools, topologies and their bounds
    lab.py run --tool weft,aria2 --topo flat-12 [--reps 3]  measure; a line for each run
    lab.py table [--quick]                                  all that docs/benchmarks.md shows, and the table into it
    lab.py table --out RECORDS [--seconds N]                goes on where it was broken off
    lab.py report --out RECORDS                             the table alone, from records of earlier runs
    lab.py clean                                            take down what a killed run left

Root, Linux with network namespaces, Python 3's standard library.  A tool is a class in drivers/*.py.
"""
import argparse
import contextlib
import glob
import json
import os
import pathlib
import shutil
import signal
import sys
import time

import drivers
import measure
import net
import plan
import report
import topologies
from data import TMP


ROOT = pathlib.Path(__file__).resolve().parents[2]


def say(r):
    """A run on one line."""
    time_ = f"{r['t_all']:.2f} s" if r["t_all"] else f"DNF {r['verified']}/{r['survivors']}"
    parts = [f"{r['topo']:12s} {r['tool']:16s} {time_:>9s}", f"ratio {r['ratio']}", f"mean {r['t_mean']}"]
    if "origin_copies" in r:
        parts.append(f"origin {r['origin_copies']}")
        parts += [f"{o} in {v['in']} out {v['out']}" for o, v in sorted(r["line_payload"].items())]
    parts += [f"seed sent {r['seed_up']}", f"cpu {r['cpu_s']} s ({r['cpu_per_gib']}/GiB; tool {r['cpu_tool']:.0%}, "
              f"others {r['cpu_others']:.0%})", f"rss {r['rss_seed_mib']}/{r['rss_process_mib']} MiB"]
    print("  ".join(parts), flush=True)


def usable(names):
    """The tools of these that are installed; the others are named and left out."""
    reason = net.why_not()
    if reason:
        sys.exit("lab: " + reason)
    found = []
    for name in names:
        if name not in drivers.ALL:
            sys.exit(f"lab: no tool {name}: {', '.join(drivers.ALL)}")
        if missing := drivers.ALL[name].missing():
            print(f"{name}: skipped, {missing} is not installed", flush=True)
        else:
            found.append(name)
    return found


def run(args):
    """What the command line names."""
    tools = usable(list(drivers.ALL) if args.tool == "all" else args.tool.split(","))
    todo = [((args.topo or "smoke").split(","), tools, args.reps)]
    return run_all(args, plan.steps(todo, can))


def can(name, tool):
    return drivers.ALL[tool].can(topologies.named(name))


def run_all(args, steps):
    """Each of them, as far as the time goes; 1 if any could not even be measured."""
    status, start = 0, time.monotonic()
    for name, tool in steps:
        if args.seconds and time.monotonic() - start > args.seconds:
            print("the time is over; the same command goes on", flush=True)
            return 1
        status |= run_one(args, tool, topologies.named(name))
    return status


def table(args):
    """The plan, into records of its own, and then the document.  Records that are there already are not measured again."""
    chosen = plan.only(plan.QUICK_PLAN if args.quick else plan.FULL_PLAN, args.topo, args.tool)
    tools = usable(dict.fromkeys(t for _, names, _ in chosen for t in names))
    out = pathlib.Path(args.out or ROOT / "bench/out" / time.strftime("lab-%Y%m%d-%H%M%S.jsonl"))
    out.parent.mkdir(parents=True, exist_ok=True)
    args.out = str(out)
    steps = plan.steps(chosen, lambda name, tool: tool in tools and can(name, tool))
    status = run_all(args, plan.remaining(steps, report.load(out) if out.exists() else {}))
    if args.quick:
        print(report.text(report.load(out)))
    else:
        report.write(out, args.document)
        print(f"{out}: the records; {args.document}: the table")
    return status


def write_report(args):
    """Only the document, from records that are there."""
    report.write(args.out, args.document)
    return 0


def run_one(args, tool, topo):
    try:
        r = measure.measure(tool, topo, args.cc, args.limit)
    except (RuntimeError, OSError) as e:
        print(f"{topo['name']} {tool}: {e}", flush=True)
        return 1
    r["note"] = args.note
    if args.out:
        with open(args.out, "a") as f:
            f.write(json.dumps(r) + "\n")
    say(r)
    return 0


def clean(args):
    """Only what belongs to a run that is no more: its process number is in every name."""
    def gone(name):
        pid = name[3:].split("-")[0]
        return pid.isdigit() and not os.path.exists("/proc/" + pid)

    for d in glob.glob("/sys/fs/cgroup/lab*-*") + glob.glob("/sys/fs/cgroup/cpuacct/lab*-*"):
        if gone(os.path.basename(d)):
            with open(d + "/cgroup.procs") as f:
                for p in f.read().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(p), signal.SIGKILL)
            time.sleep(0.05)
            os.rmdir(d)
    for n in map(os.path.basename, glob.glob("/run/netns/lab*-*")):
        if gone(n):
            net.sh("ip", "netns", "del", n)
    for d in glob.glob(str(TMP / "[0-9]*")):
        if not os.path.exists("/proc/" + os.path.basename(d)):
            shutil.rmtree(d)
    return 0


def show(args):
    for name, tool in drivers.ALL.items():
        missing = tool.missing()
        print(f"tool {name}" + (f" (not installed: {missing})" if missing else ""))
    for name, t in topologies.ALL.items():
        b = topologies.bounds(t)
        print(f"topology {name}: {len(t['hosts']) - 1} peers, {topologies.payload(t) >> 20} MiB, bounds "
              + (", ".join(f"{k} {v:.2f} s" for k, v in b.items()) if b else "none (unshaped)"))
    return 0


COMMANDS = {"list": show, "run": run, "table": table, "report": write_report, "clean": clean}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=list(COMMANDS))
    p.add_argument("--tool", default="all", help="of run, or only these of table")
    p.add_argument("--topo", help="of run (smoke), or only these of table")
    p.add_argument("--reps", type=int, default=1)
    p.add_argument("--cc", default="cubic", help="default congestion control of the namespaces")
    p.add_argument("--weft", help="the program (build/src/cmd/weft)")
    p.add_argument("--limit", type=float, help="seconds after which a run counts as not finished")
    p.add_argument("--details", help="write each peer's `weft why` of the last run to this file")
    p.add_argument("--note", default="")
    p.add_argument("--quick", action="store_true", help="of table: once, the shorter plan, printed only")
    p.add_argument("--seconds", type=float, help="start no run after so long; what is in --out is not measured again")
    p.add_argument("--document", default=str(ROOT / "docs/benchmarks.md"))
    p.add_argument("--out", help="append the records to this file")
    args = p.parse_args()
    drivers.OPTIONS.update(weft=args.weft, details=args.details)
    drivers.load()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is taken down
    sys.exit(COMMANDS[args.command](args) or 0)


if __name__ == "__main__":
    main()
