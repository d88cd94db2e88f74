"""Fault points of running processes (src/platform/fault.h): which sites a process passes, and making one of them fail once.

A site is a fault point together with the calls that led to it.  Sites whose call into platform and db comes from the same line
of engine, server or whoever asks are one Place: what is tried is what that line does about a failure.  Places are found by
recording, so a new one needs no list.
"""
import errno
import mmap
import pathlib
import re
import struct
import subprocess
import sys

from weft import BIN

SITES = 32                       # as many as a board takes
LAYOUT = struct.Struct(f"<{SITES}QiII")
KIND_AT, FIRED_AT, ROUND_AT = 8 * SITES, 8 * SITES + 4, 8 * SITES + 8
SHORT, CRASH = -1, -2

# Those who only pass on what they are told; what follows from a failure is decided by who called them.
SERVANTS = ("base", "platform", "db")
# And these serve as well, where somebody beyond them decides: their own answers are tried in their unit tests.
HELPERS = ("chunk", "crypto", "manifest", "loop", "net", "proto", "session")

NET = ("src/net/", "src/control/")
NET_KINDS = {
    "read": ["ECONNRESET", "short"], "write": ["ECONNRESET", "EPIPE", "short"], "connect": ["ECONNREFUSED", "ETIMEDOUT"],
    "socket": ["EMFILE"], "accept": ["EMFILE"], "bind": ["EADDRINUSE"], "listen": ["EADDRINUSE"],
}
# Calls that take room; the others cannot meet a full disk.
ROOM = ("write", "allocate", "create", "mkdir", "rename", "symlink", "sync", "truncate", "copy", "db", "open to write", "open lock")


def kinds_of(where, what):
    """How a point may fail, the likeliest first."""
    if where.startswith(NET):
        return NET_KINDS.get(what, ["EIO"])
    if what.startswith("db"):
        return ["EIO", "ENOSPC", "EBUSY"]
    kinds = ["EIO"]
    if what.startswith(ROOM):
        kinds.append("ENOSPC")
    if what in ("read", "write"):
        kinds.append("short")
    if what.startswith("open"):
        kinds.append("EMFILE")
    return kinds


class Board:
    """What one process (or several that share it) is told."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(bytes(4096))
        with open(self.path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)
        self.env = {"WEFT_FAULT_BOARD": str(self.path)}

    def arm(self, sites, kind):
        number = {"short": SHORT, "crash": CRASH}.get(kind) or getattr(errno, kind)
        sites = list(sites)[:SITES]
        struct.pack_into("<iI", self.map, KIND_AT, number, 0)
        # The first comes last: until it is there nothing is wanted.
        for i in reversed(range(SITES)):
            struct.pack_into("<Q", self.map, 8 * i, sites[i] if i < len(sites) else 0)

    def disarm(self):
        """Whether it has failed."""
        for i in range(SITES):
            struct.pack_into("<Q", self.map, 8 * i, 0)
        return self.fired()

    def fired(self):
        return struct.unpack_from("<I", self.map, FIRED_AT)[0] != 0

    def record(self, round):
        """From now on; 0: no longer."""
        struct.pack_into("<I", self.map, ROUND_AT, round)

    def seen(self):
        """What was recorded: (round, site, where, what, calls)."""
        path = pathlib.Path(f"{self.path}.sites")
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            round, site, where, calls, what = line.split(" ", 4)
            rows.append((int(round), int(site, 16), where, what, tuple(int(c, 16) for c in calls.split(",") if c)))
        return rows


def source_lines(addresses):
    """Of each return address the lines of source it stands for, those of inlined functions first.  {address: ["src/x.c:1"]}"""
    wanted = sorted(set(addresses))
    # The call is before where it returns to.
    given = "\n".join(f"{a - 1:#x}" for a in wanted)
    out = subprocess.run(["addr2line", "-a", "-i", "-e", BIN], input=given, capture_output=True, text=True, check=True).stdout
    lines, at = {}, None
    for line in out.splitlines():
        if line.startswith("0x"):
            at = int(line, 16) + 1
            lines[at] = []
        else:
            m = re.search(r"(src/\w+/[\w.]+:\d+)", line)
            if m:
                lines[at].append(m.group(1))
    return lines


def module(line):
    return line.split("/")[1]


def askers(frames):
    """Who called for what a point does: the innermost line that is no servant's, and the innermost that is no helper's."""
    near = next((f for f in frames if module(f) not in SERVANTS), frames[0])
    far = next((f for f in frames if module(f) not in SERVANTS + HELPERS), near)
    return near, far


class Place:
    """A point and who asked, in one process and one step of the scenario."""

    def __init__(self, step, role, where, what, near, far):
        self.step, self.role, self.where, self.what, self.near, self.far = step, role, where, what, near, far
        self.sites = []

    def name(self):
        through = f" through {self.near}" if self.near != self.far else ""
        return f"{self.step} {self.role} {self.far}{through} {self.where} {self.what}"


def places(seen):
    """SEEN: {role: rows of Board.seen, round being a step's name}.  A place is tried in the first step that passes it."""
    lines = source_lines(a for rows in seen.values() for row in rows for a in row[4])
    found = {}
    for role, rows in seen.items():
        for step, site, where, what, calls in rows:
            frames = [f for a in calls for f in lines[a]] or [where]
            near, far = askers(frames)
            place = found.setdefault((role, where, near, far), Place(step, role, where, what, near, far))
            if place.step == step and site not in place.sites:
                place.sites.append(site)
    return list(found.values())


def lines_passed(seen):
    """Every line of source from which a point was reached."""
    lines = source_lines(a for rows in seen.values() for row in rows for a in row[4])
    return {line for frames in lines.values() for line in frames}


# -- what there is to pass -----------------------------------------------------------------------------------------------

CALL = re.compile(r"^\s*([0-9a-f]+):\s+call[q]?\s+[0-9a-f]+ <(\w+)(?:\.\w+)*>$")
FUNCTION = re.compile(r"^[0-9a-f]+ <(\w+)(?:\.\w+)*>:$")


def calls_in_program():
    """{function: [(return address, called function)]}, from the machine code: what the compiler made of it counts."""
    text = subprocess.Popen(["objdump", "-d", "--no-show-raw-insn", "-j", ".text", BIN], stdout=subprocess.PIPE, text=True)
    calls, inside, pending = {}, None, None
    for line in text.stdout:
        function = FUNCTION.match(line)
        if function:
            inside, pending = calls.setdefault(function.group(1), []), None
            continue
        at = re.match(r"^\s*([0-9a-f]+):", line)
        if at and pending is not None:
            inside.append((int(at.group(1), 16), pending))
            pending = None
        call = CALL.match(line)
        if call and inside is not None:
            pending = call.group(2)
    text.wait()
    return calls


def lines_that_may_fail():
    """Every line of engine and server that calls what passes a fault point of a servant: {line: {called functions}}."""
    calls = calls_in_program()
    failing = {"fault_hit"}
    grown = True
    servant = re.compile(r"^(fs|db|big_array|cleanup|fault)_|^(exec|prepare|ask_int|step|start|statement)$")
    while grown:
        more = {f for f, made in calls.items() if servant.match(f) and any(c in failing for _, c in made)} - failing
        grown = bool(more)
        failing |= more
    wanted = {a: c for made in calls.values() for a, c in made if c in failing and c.startswith(("fs_", "db_", "big_array_"))}
    found = {}
    for address, lines in source_lines(wanted).items():
        # The line of the call itself is the first: what follows is where it was inlined.
        if lines and module(lines[0]) in ("engine", "server"):
            found.setdefault(lines[0], set()).add(wanted[address])
    return found


if __name__ == "__main__":
    for line, called in sorted(lines_that_may_fail().items()):
        print(line, *sorted(called), file=sys.stdout)
