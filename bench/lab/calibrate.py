#!/usr/bin/env python3
"""Does the lab shape as it was asked to?  iperf3 over shaped links, and ping and iperf3 over the delay wire.

usage: calibrate.py [delay | RATE...]       rates in Mbit/s; root, iperf3, and ping for the wire
"""
import json
import subprocess
import sys
import time

from net import Net
from topologies import flat, offices

CEILING = 1448 / 1514  # payload of the wire rate, at best
RATES = (20, 50, 100, 400)


def iperf(net, pairs, seconds=5):
    """Mbit/s that each (sender, receiver) pair brings, all at once, after a second of warm-up."""
    servers, clients = [], []
    for i, (_, receiver) in enumerate(pairs):
        with net.ns(receiver):
            servers.append(subprocess.Popen(["iperf3", "-s", "-1", "-p", str(5201 + i)], stdout=subprocess.DEVNULL))
    time.sleep(1)
    for i, (sender, receiver) in enumerate(pairs):
        with net.ns(sender):
            clients.append(subprocess.Popen(["iperf3", "-J", "-c", net.addr[receiver], "-p", str(5201 + i), "-t", str(seconds),
                                             "-O", "1"], stdout=subprocess.PIPE))
    out = [json.loads(c.communicate()[0])["end"]["sum_received"]["bits_per_second"] / 1e6 for c in clients]
    for s in servers:
        s.wait()
    return [round(x, 2) for x in out]


def shaping(rates):
    for rate in rates:
        for cc in ("cubic", "bbr"):
            with Net(flat("cal", 4, 1, rate, rate), cc) as net:
                one = iperf(net, [("seed", "p1")])
                fan = iperf(net, [("seed", f"p{i}") for i in (1, 2, 3, 4)])
                into = iperf(net, [(f"p{i}", "seed") for i in (1, 2, 3, 4)])
                both = iperf(net, [("seed", "p1"), ("p1", "seed")])
            print(f"{rate:4g} Mbit/s {cc:5s} ceiling {CEILING:.1%}: one flow {one[0] / rate:.1%}, "
                  f"1 to 4 {sum(fan) / rate:.1%} {fan}, 4 to 1 {sum(into) / rate:.1%} {into}, both ways {both[0] / rate:.1%} {both[1] / rate:.1%}", flush=True)


def delay():
    for ms, loss, cc in ((0, 0, "cubic"), (25, 0, "cubic"), (25, 0, "bbr"), (25, .001, "cubic"), (25, .001, "bbr")):
        with Net(offices("cal", 1, 400, 100, 1, 1, 1, ms, loss), cc) as net:
            with net.ns("seed"):
                ping = subprocess.run(["ping", "-q", "-i", ".05", "-c", "40", net.addr["o1p1"]], capture_output=True,
                                      text=True).stdout.splitlines()
            print(f"line of 100 Mbit/s, {ms} ms one way per office, loss {loss}, {cc}: {'; '.join(ping[-2:])}; one flow "
                  f"{iperf(net, [('seed', 'o1p1')], 8)} Mbit/s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["delay"]:
        shaping([float(r) for r in sys.argv[1:]] or RATES)
    if sys.argv[1:] in ([], ["delay"]):
        delay()
