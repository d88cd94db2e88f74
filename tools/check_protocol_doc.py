#!/usr/bin/env python3
"""Check docs/protocol.md against the tables.  usage: check_protocol_doc.py ROOT DUMP_PROTOCOL

Every frame type has a section "### NAME (number)"; its table has exactly the message's fields, "| tag | `name` | kind | ...", with
"required" in the row when it is.  Rows of ROWS have sections of their own.  Every limit stands in the table of limits with its
value, and every error with its number.
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

print("\n".join(bad))
sys.exit(1 if bad else 0)
