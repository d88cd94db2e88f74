#!/usr/bin/env python3
"""Plant violations in a small tree and see that the checks find each of them.  usage: test_checks.py TOOLS_DIR"""
import pathlib
import re
import subprocess
import sys
import tempfile

TOOLS = pathlib.Path(sys.argv[1]).resolve()
RULES = "base:\nshop: base\n<curses.h: base\n<>: stdio.h sys/*\n"
failed = 0


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def expect(what, command, status, says=""):
    """The command ends with this status and says this."""
    global failed
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if done.returncode != status or says not in done.stdout:
        print(f"{what}: status {done.returncode}, not {status}, and it said: {done.stdout or 'nothing'}")
        failed += 1


def layers(what, files, status, says="", rules=RULES):
    with tempfile.TemporaryDirectory() as d:
        root = pathlib.Path(d)
        tree(root, {"tools/layers.txt": rules, **files})
        expect(what, [sys.executable, TOOLS / "check_layers.py", root], status, says)


def symbols(what, files, status, says=""):
    with tempfile.TemporaryDirectory() as d:
        root = pathlib.Path(d)
        tree(root, files)
        for path in root.glob("src/*/*.c"):
            objects = root / "build" / "src" / path.parent.name / f"lib{path.parent.name}.a.p"
            objects.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cc", "-c", path, "-o", objects / (path.name + ".o")], check=True, timeout=60)
        expect(what, [TOOLS / "check_symbols.sh", root, root / "build"], status, says)


def banned(name):
    """A call of NAME does not compile, and the message says what to use."""
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d, "a.c")
        path.write_text(f"void a(char *b); void a(char *b) {{ (void){name}(b); }}\n")
        expect(f"the banned {name}", ["cc", "-Werror=implicit-function-declaration", "-include", TOOLS.parent / "src/base/banned.h",
                                      "-c", path, "-o", pathlib.Path(d, "a.o")], 1, "banned_use_")


layers("what is allowed", {
    "src/base/a.c": '#include <curses.h>\n#include "base/a.h"\n',
    "src/shop/b.c": '#include <stdio.h>\n# include "base/a.h"\n',
    "src/shop/test_b.c": '#include "tests/check.h"\n#include <cmocka.h>\n#include <sys/stat.h>\n',
}, 0)
layers("a module above", {"src/base/a.c": '\n#include "shop/b.h"\n'}, 1, "src/base/a.c:2: base may not include shop/b.h")
layers("a closed door", {"src/shop/b.h": "#include <curses.h>\n"}, 1,
       "src/shop/b.h:1: shop may not include curses.h, only base may")
layers("a library without a door", {"src/base/a.c": "#include <curl/curl.h>\n"}, 1,
       "src/base/a.c:1: curl/curl.h has no door in tools/layers.txt")
layers("the library of tests from the program", {"src/base/a.c": "#include <cmocka.h>\n"}, 1, "cmocka.h has no door")
layers("a path not from src", {"src/shop/b.c": '#include "b.h"\n'}, 1, "shop may not include b.h")
layers("a way out", {"src/shop/b.c": '#include "../tests/check.h"\n'}, 1, "may not include")
layers("tests from the program", {"src/shop/b.c": '#include "tests/check.h"\n'}, 1, "may not include tests/check.h")
layers("an unknown module", {"src/cellar/c.c": "\n"}, 1, "does not know the module cellar")
layers("a cycle", {}, 1, "base names shop, not listed above it", rules="base: shop\nshop: base\n")

symbols("what is allowed", {
    "src/shop/till.h": "",
    "src/shop/till.c": "int till; int till_open(void) { return 1; } static int other;\nint *till_p = &other;\n",
    "src/shop/till_drawer.c": "int till_drawer_n; int till_close(void) { return 2; }\n",
}, 0)
symbols("a foreign name", {"src/shop/till.h": "", "src/shop/till.c": "int open_till;\n"}, 1, "till.c exports open_till")
symbols("half a name", {"src/shop/till.h": "", "src/shop/till.c": "int tiller;\n"}, 1, "till.c exports tiller")
symbols("what another header owns", {
    "src/shop/till.h": "", "src/shop/till_drawer.h": "", "src/shop/till_drawer.c": "int till_close;\n",
}, 1, "till_drawer.c exports till_close")
symbols("what a longer header owns", {
    "src/shop/till.h": "", "src/shop/till_drawer.h": "", "src/shop/till.c": "int till_drawer_n;\n",
}, 1, "till.c exports till_drawer_n")
symbols("a word of the file", {"src/shop/till.h": "", "src/shop/till_drawer.c": "int drawer_n;\n"}, 0)
symbols("nothing built", {"src/shop/till.h": ""}, 1, "is it built?")

for function in re.findall(r"^#define (\w+) +banned_use_", (TOOLS.parent / "src/base/banned.h").read_text(), flags=re.M):
    banned(function)

print("all checks find what was planted" if not failed else f"{failed} wrong")
sys.exit(failed > 0)
