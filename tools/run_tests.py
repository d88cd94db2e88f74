#!/usr/bin/env python3
"""make test: build with sanitizers, run every suite, and say in one last line what came of it.

  build-test   address and undefined-behaviour sanitizers, fault points: style, unit, sim and fuzz-replay tests (meson)
  build-tsan   thread sanitizer: the tests of suite "threads", which are also in the first build
  tests/e2e    real processes of the first build (pytest), two files at a time: they wait more than they work

Only the standard library is used.  Exit status 0 when nothing failed and something passed.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONG = os.environ.get("WEFT_LONG") == "1"
BUILD_LIMIT_S = 1800
AT_ONCE = 1 if LONG else 2  # files of tests/e2e
SUITE_LIMIT_S = 6 * 3600 if LONG else 1200
SANITIZER = "halt_on_error=1:abort_on_error=1:print_summary=1"


class Totals:
    def __init__(self):
        self.passed, self.failed, self.skipped, self.names = 0, 0, 0, []

    def fail(self, name):
        self.failed += 1
        self.names.append(name)

    def line(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def run(command, limit_s, env=None, output=None):
    """Runs a command in a process group of its own, all of which ends with it.  Its status; 124 when it took too long."""
    print("+", " ".join(map(str, command)), flush=True)
    process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env={**os.environ, **(env or {})}, start_new_session=True,
                               stdout=output, stderr=subprocess.STDOUT if output else None)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        print(f"{command[0]}: not done within {limit_s} s", flush=True)
        return 124
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def cases_of(path):
    """The test cases of a JUnit file.  What tests print may hold characters that XML cannot."""
    text = path.read_text(encoding="utf-8", errors="replace")
    text = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "?", text)
    return ElementTree.fromstring(text).iter("testcase")


def count(case, totals):
    """One case of a JUnit file; of a cmocka program, each of its tests."""
    name = f"{case.get('classname')}.{case.get('name')}" if case.get("file") else case.get("name")
    output = (case.findtext("system-out") or "") + "\n" + (case.findtext("system-err") or "")
    failed = {m for m in re.findall(r"^\[  FAILED  \] (\w+)$", output, re.M)}
    skipped = {m for m in re.findall(r"^\[  SKIPPED \] (\w+)$", output, re.M)}
    passed = len(re.findall(r"^\[       OK \] \w+$", output, re.M))
    totals.skipped += len(skipped)
    if case.find("failure") is not None or case.find("error") is not None:
        totals.passed += passed
        for test in sorted(failed) or ["(the program itself)" if passed else ""]:
            totals.fail(f"{name} {test}".strip())
    elif case.find("skipped") is not None:
        totals.skipped += 1
    elif passed or skipped:
        totals.passed += passed
    else:
        totals.passed += 1


def collect(path, status, what, totals):
    """All of a JUnit file; a run that failed without a failing test has failed as a whole."""
    before = totals.failed
    try:
        for case in cases_of(path):
            count(case, totals)
    except (OSError, ElementTree.ParseError) as e:
        print(f"{what}: no result: {e}", flush=True)
        status = status or 1
    if status != 0 and totals.failed == before:
        totals.fail(f"{what} (status {status})")


def configure(build, options):
    if (ROOT / build / "build.ninja").exists():
        return 0
    return run(["meson", "setup", build, "-Dwerror=true", *options], BUILD_LIMIT_S)


def meson_test(build, options, totals):
    log = ROOT / build / "meson-logs" / "testlog.junit.xml"
    log.unlink(missing_ok=True)
    slower = ["--timeout-multiplier", "20" if LONG else "3"]
    status = run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", *slower, *options], SUITE_LIMIT_S)
    collect(log, status, f"meson test in {build}", totals)


def introspect(build, what):
    found = subprocess.run(["meson", "introspect", build, what], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(found.stdout)


def targets_of_suite(build, suite):
    """The files that the tests of a suite need built."""
    files = {t["id"]: t["filename"] for t in introspect(build, "--targets")}
    wanted = [t for t in introspect(build, "--tests") if any(s.endswith(":" + suite) for s in t["suite"])]
    return sorted({os.path.relpath(f, ROOT / build) for t in wanted for d in t["depends"] for f in files.get(d, [])})


def first_build(totals):
    """Unit tests and what else meson knows.  False when there is nothing to go on with."""
    status = configure("build-test", ["-Db_sanitize=address,undefined", "-Dfaults=true"])
    status = status or run(["ninja", "-C", "build-test"], BUILD_LIMIT_S)
    if status != 0:
        totals.fail("the build")
        return False
    meson_test("build-test", ["--no-suite", "e2e"], totals)
    return True


def thread_build(totals):
    status = configure("build-tsan", ["-Db_sanitize=thread"])
    files = targets_of_suite("build-tsan", "threads") if status == 0 else []
    if status == 0 and not files:
        return
    status = status or run(["ninja", "-C", "build-tsan", *files], BUILD_LIMIT_S)
    if status != 0:
        totals.fail("the build with the thread sanitizer")
        return
    meson_test("build-tsan", ["--suite", "threads"], totals)


def end_to_end(totals):
    """File by file, the big ones first; what each printed is shown when it has ended."""
    files = sorted((ROOT / "tests/e2e").glob("test_*.py"), key=lambda f: f.stat().st_size)
    weft, logs, lock = ROOT / "build-test/src/cmd/weft", ROOT / "build-test/e2e", threading.Lock()
    logs.mkdir(exist_ok=True)
    env = {"WEFT": str(weft), "WEFT_BIN": str(weft), "ASAN_OPTIONS": SANITIZER, "UBSAN_OPTIONS": SANITIZER}

    def test(file):
        result, text = logs / f"{file.stem}.xml", logs / f"{file.stem}.txt"
        result.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=3", f"--junitxml={result}", file]
        # A folder of its own: at its start pytest shuts the common one for other users, also while tests of another run as such.
        with open(text, "wb") as output, tempfile.TemporaryDirectory(prefix="weft-") as temp:
            os.chmod(temp, 0o755)
            status = run(command, SUITE_LIMIT_S, {**env, "PYTEST_DEBUG_TEMPROOT": temp}, output)
        with lock:
            print(text.read_text(errors="replace"), flush=True)
            collect(result, status, f"pytest {file.name}", totals)

    def work():
        while True:
            with lock:
                if not files:
                    return
                file = files.pop()
            try:
                test(file)
            except Exception as e:  # an error of this program is no success
                with lock:
                    totals.fail(f"{file.name}: {e}")

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main():
    totals = Totals()
    start = time.monotonic()
    if first_build(totals):
        thread_build(totals)
        end_to_end(totals)
    print(f"\n{time.monotonic() - start:.0f} s in all")
    for name in totals.names:
        print("failed:", name)
    print(totals.line(), flush=True)
    sys.exit(totals.failed > 0 or totals.passed == 0)


main()
