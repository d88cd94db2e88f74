#!/usr/bin/env python3
"""Check every #include under src/ against tools/layers.txt.  usage: check_layers.py ROOT

A line 'name: a b c' lets src/name/ include src/a/, src/b/ and src/c/, which must all be named on earlier lines, so a
cycle cannot be written down.  A line '<prefix: a b' is the door of a library: only src/a/ and src/b/ include <prefix...>.
Unit tests (test_*.c) may also include tests/.
"""
import pathlib
import re
import sys


def read_rules(path):
    """The modules with what each may include, and the doors with who stands in them."""
    modules, doors = {}, {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, colon, rest = line.partition("#")[0].partition(":")
        name, allowed = name.strip(), rest.split()
        if not name:
            continue
        if not colon:
            sys.exit(f"{path}:{number}: a rule is 'name: names'")
        unknown = [a for a in allowed if a not in modules]
        if unknown:
            sys.exit(f"{path}:{number}: {name} names {' '.join(unknown)}, not listed above it")
        if name.startswith("<"):
            doors[name[1:]] = set(allowed)
        elif name in modules:
            sys.exit(f"{path}:{number}: {name} is listed twice")
        else:
            modules[name] = {name, *allowed}
    return modules, doors


def is_allowed(module, is_test, quote, target, modules, doors):
    if quote == "<":
        return all(module in who for prefix, who in doors.items() if target.startswith(prefix))
    first, slash, _ = target.partition("/")
    return bool(slash) and (first in modules[module] or (is_test and first == "tests"))


def main():
    root = pathlib.Path(sys.argv[1])
    modules, doors = read_rules(root / "tools/layers.txt")
    bad = 0
    for path in sorted(root.glob("src/**/*.[ch]")):
        module = path.relative_to(root / "src").parts[0]
        where = path.relative_to(root)
        if module not in modules:
            print(f"{where}: tools/layers.txt does not know the module {module}")
            bad += 1
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            include = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
            if include and not is_allowed(module, path.name.startswith("test_"), *include.groups(), modules, doors):
                print(f"{where}:{number}: {module} may not include {include.group(2)}")
                bad += 1
    sys.exit(bad > 0)


main()
