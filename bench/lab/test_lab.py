#!/usr/bin/env python3
"""The lab's pure parts: bounds, topologies, data, what is counted, the table.  Needs neither root nor any tool."""
import json
import math
import os
import pathlib
import sys
import tempfile
import unittest

os.environ["WEFT_LAB_DIR"] = tempfile.mkdtemp(prefix="weft-lab-test-")  # before the modules that read it

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import data  # noqa: E402
import drivers  # noqa: E402
import net  # noqa: E402
import plan  # noqa: E402
import report  # noqa: E402
import topologies  # noqa: E402

drivers.load()
MBIT = 2**20 * 8 / 1e6  # of a MiB


class Bounds(unittest.TestCase):
    def test_of_one_lan_are_the_origins_uplink_or_all_uplinks(self):
        self.assertAlmostEqual(topologies.bounds(topologies.ALL["flat-12"])["all"], 64 * MBIT / 50)
        asym = topologies.bounds(topologies.ALL["asym"])
        self.assertAlmostEqual(asym["all"], 10 * 64 * MBIT / 300)
        self.assertAlmostEqual(asym["cs"], 10 * 64 * MBIT / 100)

    def test_of_offices_count_each_line_once_and_exports_of_all_lines(self):
        b = topologies.bounds(topologies.ALL["offices"])
        self.assertAlmostEqual(b["all"], 48 * MBIT / 40)
        self.assertAlmostEqual(b["hq"], 3 * 48 * MBIT / 40)
        self.assertAlmostEqual(b["cs"], 15 * 48 * MBIT / 40)

    def test_find_the_narrowest_line(self):
        t = topologies.offices("t", 10, 400, 40, 1, 3, 2)
        t["offices"]["o2"]["wan_down"] = 7
        self.assertAlmostEqual(topologies.bounds(t)["all"], 10 * MBIT / 7)
        for o in t["offices"].values():
            o["wan_up"], o["wan_down"] = 6, 400
        self.assertAlmostEqual(topologies.bounds(t)["all"], 10 * MBIT / 6)  # out of the origin's office once
        t["offices"] |= {f"x{i}": {"wan_up": 0.5, "wan_down": 400} for i in range(20)}
        t["hosts"] |= {f"x{i}p1": {"office": f"x{i}", "up": 400, "down": 400} for i in range(20)}
        self.assertAlmostEqual(topologies.bounds(t)["all"], 23 * 10 * MBIT / (4 * 6 + 20 * 0.5))

    def test_leave_out_who_is_killed_but_not_his_uplink(self):
        t = topologies.flat("t", 10, 10, 10, 1000, seed_up=1000)
        before = topologies.bounds(t)["all"]
        t["events"] = [{"at": 1, "kill": ["p1", "p2", "p3", "p4", "p5"]}]
        self.assertAlmostEqual(topologies.bounds(t)["all"], before / 2)

    def test_are_none_where_nothing_limits(self):
        self.assertIsNone(topologies.bounds(topologies.ALL["one2one"]))
        self.assertIsNone(topologies.bounds(topologies.ALL["versions"]))
        self.assertAlmostEqual(topologies.bounds(topologies.ALL["long-1"])["all"], 128 * MBIT / 100)


class Topologies(unittest.TestCase):
    def test_are_plain_data_that_hang_together(self):
        for t in [*topologies.ALL.values(), *map(topologies.any_of, range(300))]:
            self.assertEqual(json.loads(json.dumps(t)), t)
            self.assertIn("seed", t["hosts"])
            for host, spec in t["hosts"].items():
                self.assertIn(spec["office"], t["offices"])
                self.assertLessEqual(len("h-" + host), 15, "an interface's name")
            for office in t["offices"]:
                self.assertLessEqual(len("w-" + office), 15)
                self.assertLess(sum(h["office"] == office for h in t["hosts"].values()), 200, "a /24")
            for e in t["events"]:
                self.assertTrue(set(e.get("kill", ())) <= set(t["hosts"]))

    def test_at_random_are_the_same_for_a_seed_and_of_both_kinds(self):
        self.assertEqual(topologies.named("random-7"), topologies.any_of(7))
        many = [topologies.any_of(i) for i in range(100)]
        self.assertGreater(len({json.dumps(t) for t in many}), 95)
        self.assertTrue(10 < sum(len(t["offices"]) > 1 for t in many) < 90)
        for t in many:
            self.assertTrue(5 < topologies.bounds(t)["all"] < 40, t)
            self.assertGreaterEqual(topologies.bounds(t)["cs"], topologies.bounds(t)["all"])

    def test_that_are_not_there_are_named(self):
        with self.assertRaisesRegex(KeyError, "flat-12"):
            topologies.named("flat-13")


class Shaping(unittest.TestCase):
    def test_super_packets_are_two_milliseconds_and_the_bucket_holds_two(self):
        self.assertEqual(net.gso(50), 12500)
        self.assertEqual(net.gso(1), 4500)
        self.assertEqual(net.gso(10000), 65536)
        for rate in (5, 20, 50, 400):
            words = net.tbf(rate)
            burst, limit = int(words[3]), int(words[5])
            self.assertGreaterEqual(burst, 2 * net.gso(rate))
            self.assertGreaterEqual(limit - burst, rate * 1e6 / 8 * 0.1)


class Content(unittest.TestCase):
    def test_next_version_differs_where_it_says_and_moves_one_file(self):
        base, root = data.TMP / "v1", data.TMP / "v2"
        base.mkdir()
        (base / "a").mkdir()
        (base / "a" / "big").write_bytes(b"big" * 1000)
        for i in range(4):
            (base / f"part{i}").write_bytes(bytes([i]) * 100_000)
        data.next_version(root, base, places=8, length=50)
        self.assertEqual((root / "b" / "large").read_bytes(), b"big" * 1000)
        self.assertEqual(data.names_in(root), ["b/large", "part0", "part1", "part2", "part3"])
        for i in range(4):
            new = (root / f"part{i}").read_bytes()
            changed = sum(b != i for b in new)
            self.assertTrue(90 <= changed <= 100 + 64, changed)
            self.assertTrue(100_000 < len(new) < 100_064)

    def test_right_sees_a_flipped_byte_and_another_name(self):
        tree = data.TMP / "tree"
        tree.mkdir()
        (tree / "f").write_bytes(b"x" * 10)
        d = data.Data(tree, 10, data.digest_of(tree))
        self.assertTrue(d.right(str(tree)))
        (tree / "f").write_bytes(b"x" * 9 + b"y")
        self.assertFalse(d.right(tree))
        (tree / "f").rename(tree / "g")
        (tree / "g").write_bytes(b"x" * 10)
        self.assertFalse(d.right(tree))
        self.assertFalse(d.right(tree / "nothing"))

    def test_is_kept_for_the_next_run(self):
        t = topologies.flat("t", 1, 1, 1, 1)
        first, second = data.of(t), data.of(t)
        self.assertEqual(first.digest, second.digest)
        self.assertEqual(first.size, 1 << 20)


class Payload(unittest.TestCase):
    OFFICE = {"publisher": "hq", "server": "hq", "hqp1": "hq", "o1p1": "o1", "o1p2": "o1", "o2p1": "o2"}.__getitem__

    def payload(self, rows):
        from drivers.weft import payload
        return payload(rows, self.OFFICE, 100)

    def test_counts_origin_and_lines_by_who_received(self):
        got = self.payload({
            "o1p1": {"got": [{"name": "publisher", "bytes": 60}, {"name": "server", "bytes": 40}],
                     "sources": [{"name": "o1p2", "bytes_in": 7, "offers_out": 3, "accepted_out": 2, "declined_held": 1}]},
            "o1p2": {"got": [{"name": "o1p1", "bytes": 90}, {"name": "o2p1", "bytes": 10}], "sources": []},
            "hqp1": {"got": [{"name": "publisher", "bytes": 100}], "sources": []},
        })
        self.assertEqual(got["origin_copies"], 2)
        self.assertEqual(got["line_payload"], {"hq": {"in": 0, "out": 1}, "o1": {"in": 1.1, "out": 0}, "o2": {"in": 0, "out": 0.1}})
        self.assertEqual((got["offers"]["offered"], got["offers"]["accepted"], got["offers"]["held"]), (3, 2, 1))

    def test_takes_whichever_of_why_and_get_tells_of_more(self):
        got = self.payload({"o1p1": {"got": None, "sources": [{"name": "o2p1", "bytes_in": 50}]}, "o1p2": {"error": "gone", "got": None}})
        self.assertEqual(got["line_payload"], {"o2": {"in": 0, "out": 0.5}, "o1": {"in": 0.5, "out": 0}})


def record(topo, tool, t_all, **more):
    bound = topologies.bounds(topologies.named(topo))
    return {"topo": topo, "tool": tool, "version": "1", "when": "2026-01-02T03:04:05", "t_all": t_all,
            "ratio": t_all / bound["all"] if t_all and bound else None, "t_mean": t_all, "seed_up": 1.5, "mbit_s": 80.0,
            "line": {}, "cpu_per_gib": 10, "rss_process_mib": 20, "cpu_others": 0.1, "received": 2**20, "sent_by_peers": 0, **more}


class Table(unittest.TestCase):
    def test_has_median_and_spread_and_who_did_not_finish(self):
        rows = [record("flat-12", "weft", t, origin_copies=1.02) for t in (11, 13, 12)]
        rows += [record("flat-12", "other", None), record("flat-12", "half", 20), record("flat-12", "half", None)]
        runs = {}
        for r in rows:
            runs.setdefault(r["topo"], {}).setdefault(r["tool"], []).append(r)
        text = report.text(runs, "a machine")
        self.assertIn("| weft | 12.00 (11.00-13.00) | 1.12 (1.02-1.21) |", text)
        self.assertIn("| 1.02 (1.02-1.02) |", text)
        self.assertIn("| other | did not finish |", text)
        self.assertIn("| half | 20.00; 1 of 2 did not finish |", text)
        self.assertLess(text.index("| weft | 12"), text.index("| half | 20"))
        self.assertLess(text.index("| half | 20"), text.index("| other | did"))

    def test_fits_every_topology(self):
        for name in topologies.ALL:
            line = {o: {"in": 1.0, "out": 2.0} for o in topologies.ALL[name]["offices"]}
            text = report.text({name: {"weft": [record(name, "weft", 10, line=line)]}}, "a machine")
            widths = {row.count("|") for row in text.split(f"### {name}")[1].splitlines() if row.startswith("|")}
            self.assertEqual(len(widths), 1, text)

    def test_replaces_only_what_is_between_the_marks(self):
        document, records = data.TMP / "doc.md", data.TMP / "records.jsonl"
        document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
        void = record("flat-12", "aria2", 1, void="the machine was busy")
        records.write_text("".join(json.dumps(r) + "\n" for r in (record("flat-12", "weft", 12), void)))
        report.write(records, document)
        text = document.read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertNotIn("old", text)
        self.assertNotIn("aria2", text)
        document.write_text("no marks")
        with self.assertRaises(RuntimeError):
            report.write(records, document)


class Plans(unittest.TestCase):
    def test_name_tools_and_topologies_that_exist(self):
        for chosen in (plan.FULL_PLAN, plan.QUICK_PLAN):
            for names, tools, rounds in chosen:
                self.assertGreaterEqual(rounds, 1)
                self.assertTrue(set(tools) <= set(drivers.ALL), tools)
                for name in names:
                    topologies.named(name)

    def test_let_tools_take_turns_and_leave_out_who_cannot(self):
        can = lambda name, tool: tool != "c"  # noqa: E731
        got = list(plan.steps([(("x", "y"), ("a", "b", "c"), 2)], can))
        self.assertEqual(got, [("x", "a"), ("x", "b")] * 2 + [("y", "a"), ("y", "b")] * 2)

    def test_go_on_where_they_were_broken_off(self):
        steps = [("x", "a"), ("x", "b"), ("x", "a"), ("y", "a")]
        self.assertEqual(list(plan.remaining(steps, {"x": {"a": [1]}})), [("x", "b"), ("x", "a"), ("y", "a")])
        self.assertEqual(list(plan.remaining(steps, {"x": {"a": [1, 2, 3], "b": [1]}, "y": {"a": [1]}})), [])

    def test_can_be_about_some_alone(self):
        some = plan.only([(("x", "y"), ("a", "b"), 2), (("z",), ("a",), 1)], "x,z", "a")
        self.assertEqual(list(plan.steps(some, lambda *_: True)), [("x", "a"), ("x", "a"), ("z", "a")])
        self.assertEqual(len(list(plan.steps(plan.only(some, None, "all"), lambda *_: True))), 3)

    def test_drivers_know_what_they_cannot_do(self):
        can = lambda tool, topo: drivers.ALL[tool].can(topologies.named(topo))  # noqa: E731
        self.assertTrue(can("weft", "versions") and can("rsync", "files-rtt"))
        self.assertFalse(can("aria2", "files-lan") or can("uftp", "offices") or can("uftp", "churn-seed"))


class Torrents(unittest.TestCase):
    def test_are_encoded_as_the_format_says(self):
        from drivers.bittorrent import bencode
        self.assertEqual(bencode({"b": 12, "a": b"xy", "c": {"d": "e"}}), b"d1:a2:xy1:bi12e1:cd1:d1:eee")


if __name__ == "__main__":
    try:
        assert math.isclose(report.FLOOR, 1.0456, abs_tol=1e-4)
        unittest.main(verbosity=0)
    finally:
        import shutil
        shutil.rmtree(data.TMP, ignore_errors=True)
