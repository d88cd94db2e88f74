#!/usr/bin/env python3
"""Check that the documents speak of files that are there.  usage: check_docs.py ROOT

Every `path/with.ext` between backticks in the documents below, and every relative link, must exist; a * stands for any name.
Flags of the command line, paths of the user's machine and of a home are not paths of the tree.
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
TOP = {"src", "docs", "tests", "fuzz", "bench", "tools", "sql", "packaging", "man"}
bad = 0


def exists(path):
    path = path.rstrip("/")
    return any(root.glob(path)) if "*" in path else (root / path).exists()


for doc in [root / "README.md", root / "ARCHITECTURE.md", root / "HACKING.md", *sorted((root / "docs").rglob("*.md"))]:
    if not doc.exists():
        print(f"{doc.relative_to(root)} is missing")
        bad = 1
        continue
    for n, line in enumerate(doc.read_text().splitlines(), 1):
        paths = [p for p in re.findall(r"`([\w*][\w*./-]*/[\w*./-]*)`", line) if p.split("/")[0] in TOP
                 and not re.search(r"NAME|NNNN", p)]
        links = [p for p in re.findall(r"\]\(([^)#:]+)\)", line)]
        for p in paths:
            if not exists(p):
                print(f"{doc.relative_to(root)}:{n}: there is no {p}")
                bad = 1
        for p in links:
            if not (doc.parent / p).exists():
                print(f"{doc.relative_to(root)}:{n}: the link {p} leads nowhere")
                bad = 1
sys.exit(bad)
