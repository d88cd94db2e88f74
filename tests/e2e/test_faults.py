"""Each call of engine and server to the disk, the database and the network fails once over a whole publish and get.

The scenario (fault_world.World) is recorded once; each place it passed (faults.Place) then fails once, in a run of the step that
passes it.  WEFT_LONG=1 tries all of them in each way they can fail, else a sample; WEFT_SEED=N takes the same sample again;
WEFT_FAULT_ONLY=TEXT tries those whose line, as it is printed, contains TEXT.
"""
import hashlib
import os
import random
import time

import pytest

from fault_world import ROLES, Broken, World
from faults import Board, kinds_of, lines_passed, lines_that_may_fail, places
from weft import LONG, SEED

SAMPLE = 50
ROUNDS_OF_A_WORLD = 25   # then its processes are ended, which is when lost memory is reported
ONLY = os.environ.get("WEFT_FAULT_ONLY")
THOROUGH = LONG or "tidy" in (ONLY or "")  # with the steps that take long


class Sweep:
    def __init__(self, base):
        self.boards = {role: Board(base / f"board-{role}") for role in ROLES}
        self.rng = random.Random(SEED)
        self.world = None
        self.rounds = 0
        self.failures = []
        self.not_met = []

    # -- recording -------------------------------------------------------------------------------------------------------

    def record(self):
        """Each step once, with nothing failing.  {role: what it passed}, in the order of the steps."""
        world = World(self.boards, self.rng)
        for step in ("birth", *(s for s in World.STEPS if s != "birth" and (THOROUGH or not s.startswith("tidy")))):
            for b in self.boards.values():
                b.record(World.STEPS.index(step) + 1)
            getattr(world, step)()
        for b in self.boards.values():
            b.record(0)
        world.mark()
        world.check()
        self.world = world
        return {role: [(World.STEPS[r - 1], s, where, what, calls) for r, s, where, what, calls in sorted(b.seen())]
                for role, b in self.boards.items()}

    # -- one failure -----------------------------------------------------------------------------------------------------

    def fresh(self):
        """A world in which everything is there."""
        if self.world is not None and self.rounds >= ROUNDS_OF_A_WORLD:
            self.end()
        if self.world is None:
            self.world, self.rounds = World(self.boards, self.rng), 0
            self.world.birth()
        self.rounds += 1
        return self.world

    def end(self):
        world, self.world = self.world, None
        if world is not None:
            world.end()

    def run(self, place, kind, anew):
        """Gives whether it was met; raises what must not be.  ANEW: the daemon has forgotten what it keeps open or prepared."""
        if place.step == "birth":
            self.end()
            self.world, self.rounds = World(self.boards, self.rng), 1
        else:
            self.fresh()
        world, board = self.world, self.boards[place.role]
        if anew:
            getattr(world, f"restart_{place.role}")()
        world.mark()
        sites = list(place.sites)
        self.rng.shuffle(sites)
        board.arm(sites, kind)
        getattr(world, place.step)()
        met = board.disarm()
        if place.step not in ("update", "birth"):
            world.update()
        world.check()
        return met

    def run_until_met(self, place, kind):
        """What is done once in the life of a process was perhaps done before."""
        can_anew = place.role != "command" and place.step != "birth"
        first_anew = can_anew and place.what == "db prepare"
        met = self.run(place, kind, first_anew)
        return met or (can_anew and not first_anew and self.run(place, kind, True))

    def try_one(self, place, kind):
        name = f"{place.name()} {kind}"
        begun = time.monotonic()
        try:
            met = self.run_until_met(place, kind)
            said = "; ".join(self.world.said)
            print(f"{time.monotonic() - begun:5.1f} s  {name}: {said or ('no answer failed' if met else 'not met')}", flush=True)
            if not met:
                self.not_met.append(name)
        except Exception as e:  # whatever it is: it is told, and the others are tried
            logs = self.world.logs() if self.world is not None else ""
            print(f"FAILED {name}\n{e!r}\n{e}\n{logs}", flush=True)
            self.failures.append(f"{name}: {e!r:.500}")
            if self.world is not None:
                self.world.throw_away()
            self.world = None
        finally:
            for b in self.boards.values():
                b.disarm()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    s = Sweep(tmp_path_factory.mktemp("faults"))
    yield s
    if s.world is not None:
        s.world.throw_away()


def chosen(found):
    """What is tried: (place, kind)."""
    pairs = [(p, k) for p in found for k in kinds_of(p.where, p.what)]
    if ONLY:
        return [(p, k) for p, k in pairs if ONLY in f"{p.name()} {k}"]
    if LONG:
        return pairs
    # By name, so that the sample of a seed does not change when one place more or less was passed.
    return sorted(pairs, key=lambda pk: hashlib.sha256(f"{SEED} {pk[0].name()} {pk[1]}".encode()).digest())[:SAMPLE]


def test_each_place_fails_once_and_nothing_is_lost(sweep):
    print(f"WEFT_SEED={SEED}", flush=True)
    seen = sweep.record()
    if not any(seen.values()):
        pytest.skip("built without fault points (-Dfaults=true)")
    found = places(seen)
    never = {line: called for line, called in lines_that_may_fail().items() if line not in lines_passed(seen)}
    tries = chosen(found)
    print(f"{len(found)} places, {len(tries)} tries; {len(never)} lines of engine and server never passed:")
    for line, called in sorted(never.items()):
        print("  ", line, *sorted(called))
    assert tries, "no such place"
    for place, kind in tries:
        sweep.try_one(place, kind)
    try:
        sweep.end()
    except Broken as e:
        sweep.failures.append(f"at the end: {e}")
    print(f"{len(tries) - len(sweep.not_met) - len(sweep.failures)} tries went well, {len(sweep.not_met)} were not met")
    assert not sweep.failures, "\n".join(sweep.failures)
