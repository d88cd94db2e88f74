"""Two offices with a line of 20 Mbit/s between them, and something goes wrong in the middle.

Needs root and network namespaces; everything is made by bench/lab.
"""
import random
import time

from offices import LINE_MBIT, needs_namespaces, world
from weft import SEED

pytestmark = needs_namespaces

MIB = 12
LINE_S = MIB * 2**20 * 8 / (LINE_MBIT * 1e6)  # for one copy over a line
FAIR = 1.10  # copies over a line where one would do
OUTAGE_S = 20


def rng(name):
    print(f"WEFT_SEED={SEED}")
    return random.Random(f"{SEED}-{name}")


def gateways(w, office):
    """The members of the office that another member of it knows as its gateways."""
    inside = [p for p in w.peers if w.hosts.office(p) == office]
    told = [row for p in inside for row in w.members.weft(p, "peers") if row["name"] in inside and row.get("gateway")]
    return sorted({row["name"] for row in told})


def test_a_copy_crosses_the_line_once(tmp_path):
    with world(tmp_path, {"hq": 1, "branch": 4}, MIB, rng("once")) as w:
        w.begin()
        w.finish(LINE_S + 5)
        assert w.copies_into("branch") <= FAIR


def test_a_gateway_that_dies_in_the_middle_costs_its_own_part_only(tmp_path):
    with world(tmp_path, {"hq": 1, "branch": 5}, MIB, rng("gateway")) as w:
        w.begin()
        w.wait_for_part("branch1", 0.3)
        victim = rng("victim").choice(gateways(w, "branch"))
        w.kill(victim)
        w.finish(LINE_S + 5, but=[victim])
        assert w.copies_into("branch", but=[victim]) <= FAIR


def test_offices_go_on_without_their_server(tmp_path):
    with world(tmp_path, {"hq": 1, "branch": 3}, MIB, rng("server")) as w:
        w.begin()
        w.wait_for_part("branch1", 0.3)
        w.kill("server")
        w.finish(LINE_S + 5)
        assert w.copies_into("branch") <= FAIR


def test_an_office_that_was_cut_off_goes_on_when_it_is_back(tmp_path):
    with world(tmp_path, {"hq": 2, "branch": 3}, MIB, rng("cut")) as w:
        w.begin()
        w.wait_for_part("branch1", 0.3)
        w.net.cut("branch")
        cut = time.monotonic()
        here = {p: w.here(p) for p in w.peers if p.startswith("branch")}
        time.sleep(OUTAGE_S - (time.monotonic() - cut))
        assert w.gets["hq1"].poll() == 0 and w.gets["hq2"].poll() == 0, "who was not cut off waited for who was"
        assert all(w.gets[p].poll() is None for p in here), "the line was not cut"
        w.net.mend("branch")
        w.finish(LINE_S + 10)
        assert w.copies_into("branch") <= FAIR + 0.1  # what was on its way when the line fell silent is sent again


def test_a_wrong_label_costs_one_copy_and_harms_nobody(tmp_path):
    """branch1 says that it is in hq, 40 ms away: it is a site of its own, to everybody."""
    with world(tmp_path, {"hq": 3, "branch": 3}, MIB, rng("label"), delay_ms=10, labels={"branch1": "hq"}) as w:
        w.begin()
        w.finish(2 * LINE_S + 8)
        assert w.copies_into("branch") <= 2 * FAIR
        seen = {row["name"]: row for row in w.members.weft("hq1", "peers")}
        assert seen["branch1"]["class"] == "far" and seen["branch1"]["class_why"], seen["branch1"]
        assert seen["hq2"]["class"] == "near", seen["hq2"]
