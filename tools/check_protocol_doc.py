#!/usr/bin/env python3
"""Check docs/protocol.md against the tables.  usage: check_protocol_doc.py ROOT DUMP_PROTOCOL

Every frame type has a section "### NAME (number)"; its table has exactly the message's fields, "| tag | `name` | kind | ...", with
"required" in the row when it is.  Rows of ROWS have sections of their own.  Every limit stands in the table of limits with its
value, and every error with its number.  Which request has which answer, and what a greeting and a guest may send, is what
src/session/rules.c says.
"""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
doc = (root / "docs/protocol.md").read_text()
dump = subprocess.run([sys.argv[2]], check=True, capture_output=True, text=True).stdout
bad = []


def limits():
    """Names and values of the enum in limits.h."""
    text = re.sub(r"/\*.*?\*/", "", (root / "src/proto/limits.h").read_text(), flags=re.S)
    values = {}
    for name, value in re.findall(r"\b(LIMIT_\w+) = ([^,]+),", text):
        values[name] = eval(value, {}, values)  # our own header: products of numbers
    values["LIMIT_JOB_BYTES"] = 1 << 50
    return values


sections = {}
for title, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", doc, flags=re.S | re.M):
    sections[title] = body

frames, want = {}, {}
for line in dump.splitlines():
    what, *rest = line.split()
    if what == "frame":
        frames[rest[0]] = rest[1]
        want[rest[0]] = set()
    elif what == "field":
        want.setdefault(rest[0], set()).add((rest[1], rest[2], rest[3], rest[4] == "required"))
    elif what == "error" and not re.search(rf"^\| {rest[1]} \| {rest[0].lower()} \|", doc, flags=re.M):
        bad.append(f"error {rest[0]} ({rest[1]}) is not there")

for name, fields in want.items():
    title = f"{name} ({frames[name]})" if name in frames else f"Rows of {name}"
    if title not in sections:
        bad.append(f"there is no section {title}")
        continue
    rows = set()
    for tag, field, kind, rest in re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \|(.*)$", sections[title], flags=re.M):
        rows.add((tag, field, kind, "required" in rest))
    for row in sorted(fields - rows):
        bad.append(f"{title}: the table lacks {row}")
    for row in sorted(rows - fields):
        bad.append(f"{title}: the table has {row}, the code has not")

for name, value in limits().items():
    if not re.search(rf"^\| `{name}` \| {value} \|", doc, flags=re.M):
        bad.append(f"the limit {name} = {value} is not there")
for name in re.findall(r"^\| `(LIMIT_\w+)`", doc, flags=re.M):
    if name not in limits():
        bad.append(f"the limit {name} is no more")



def rules():
    """Of src/session/rules.c: frame -> (role, states in which it may arrive, answer)."""
    text = (root / "src/session/rules.c").read_text()
    row = r"\[FRAME_(\w+)\] = \{ ROLE_(\w+), ([^,}]*)(?:, FRAME_(\w+))? \}"
    return {name: (role, set(re.findall(r"IN\((\w+)\)", states)), answer)
            for name, role, states, answer in re.findall(row, text)}


def names_in(cell):
    return set(re.findall(r"\b[A-Z][A-Z_]+\b", cell))


def table(head):
    """Rows of the table with that head, as lists of cells."""
    body = doc.partition(head)[2].partition("\n\n")[0]
    return [[c.strip() for c in line.strip("|").split("|")] for line in body.splitlines()[2:]]


said = rules()
if set(said) != set(frames):
    bad.append(f"src/session/rules.c and src/proto/frame.h differ by {set(said) ^ set(frames)}")
answers = {cells[0]: cells[1].split(",")[0] for cells in table("| request | answer |")}
for name, (role, _, answer) in said.items():
    if role == "REQUEST" and answers.pop(name, None) != answer:
        bad.append(f"the table of answers does not have {answer} for {name}")
bad += [f"the table of answers has {name}, which is no request" for name in answers]
for cells in table("| state | the other may send |"):
    may = {name for name, (_, states, _) in said.items() if cells[0].upper() in states}
    if cells[0] in ("greeting", "guest") and names_in(cells[1]) != may:
        bad.append(f"in the state {cells[0]} the document allows {names_in(cells[1])}, the code {may}")
if {"HELLO"} != {name for name, (_, states, _) in said.items() if "READY" not in states}:
    bad.append("in the state ready not everything but HELLO is allowed")

print("\n".join(bad))
sys.exit(1 if bad else 0)
