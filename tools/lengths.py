#!/usr/bin/env python3
"""Print the longest functions and files, for everybody to see.  usage: lengths.py ROOT      Never fails.

Counts on the house style: the name of a function begins a line, its body is between '{' and '}' in the first column.
"""
import pathlib
import re
import sys

SHOWN = 10


def functions(lines):
    """(name, lines) of each definition."""
    name, start = None, 0
    for number, line in enumerate(lines):
        head = re.match(r"([a-z_][a-z0-9_]*)\(", line)
        if head:
            name, start = head.group(1), number
        elif line.startswith("}") and name:
            yield name, number - start + 1
            name = None
        elif line and not line[0].isspace() and line[0] not in "{#/":
            name = None


def profile(what, rows):
    rows.sort(key=lambda row: (-row[0], row[1]))
    sizes = [n for n, _ in rows]
    if not sizes:
        return
    print(f"{len(sizes)} {what}: median {sizes[len(sizes) // 2]} lines, 95 % within {sizes[len(sizes) // 20]}; the longest:")
    for n, label in rows[:SHOWN]:
        print(f"{n:6}  {label}")


def main():
    root = pathlib.Path(sys.argv[1])
    code, tests, files = [], [], []
    for path in sorted(root.glob("src/**/*.[ch]")):
        lines = path.read_text(errors="replace").splitlines()
        where = path.relative_to(root)
        files.append((len(lines), str(where)))
        kind = tests if path.name.startswith("test_") else code
        kind.extend((n, f"{name} ({where})") for name, n in functions(lines))
    profile("functions", code)
    profile("functions of tests", tests)
    profile("files", files)


main()
