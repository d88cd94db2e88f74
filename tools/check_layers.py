#!/usr/bin/env python3
"""Check every #include under src/ against tools/layers.txt.  usage: check_layers.py ROOT

A line 'name: a b c' lets src/name/ include src/a/, src/b/ and src/c/, which must all be named on earlier lines, so a
cycle cannot be written down.  A line '<prefix: a b' is the door of a library: only src/a/ and src/b/ include <prefix...>.
The lines '<>: name.h dir/*' list the headers of the system, which all may include; one that is neither there nor behind a
door is refused.  Unit tests (test_*.[ch]) may also include tests/ and <cmocka.h>.
"""
import fnmatch
import pathlib
import re
import sys


def read_rules(path):
    """The modules with what each may include, the doors with who stands in them, and the headers of the system."""
    modules, doors, system = {}, {}, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, colon, rest = line.partition("#")[0].partition(":")
        name, allowed = name.strip(), rest.split()
        if not name:
            continue
        if not colon:
            sys.exit(f"{path}:{number}: a rule is 'name: names'")
        if name == "<>":
            system += allowed
            continue
        unknown = [a for a in allowed if a not in modules]
        if unknown:
            sys.exit(f"{path}:{number}: {name} names {' '.join(unknown)}, not listed above it")
        if name.startswith("<"):
            doors[name[1:]] = set(allowed)
        elif name in modules:
            sys.exit(f"{path}:{number}: {name} is listed twice")
        else:
            modules[name] = {name, *allowed}
    return modules, doors, system


def refusal(module, is_test, quote, target, rules):
    """Why MODULE must not include TARGET; None when it may."""
    modules, doors, system = rules
    if quote == '"':
        first, slash, _ = target.partition("/")
        allowed = slash and (first in modules[module] or (is_test and first == "tests"))
        return None if allowed else f"{module} may not include {target}"
    behind = [who for prefix, who in doors.items() if target.startswith(prefix)]
    if not behind:
        known = any(fnmatch.fnmatch(target, pattern) for pattern in system) or (is_test and target == "cmocka.h")
        return None if known else f"{target} has no door in tools/layers.txt"
    if all(module in who for who in behind):
        return None
    return f"{module} may not include {target}, only {' and '.join(sorted(set.union(*behind)))} may"


def main():
    root = pathlib.Path(sys.argv[1])
    rules = read_rules(root / "tools/layers.txt")
    bad = 0
    for path in sorted(root.glob("src/**/*.[ch]")):
        module = path.relative_to(root / "src").parts[0]
        where = path.relative_to(root)
        if module not in rules[0]:
            print(f"{where}: tools/layers.txt does not know the module {module}")
            bad += 1
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            include = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
            why = include and refusal(module, path.name.startswith("test_"), *include.groups(), rules)
            if why:
                print(f"{where}:{number}: {why}")
                bad += 1
    sys.exit(bad > 0)


main()
