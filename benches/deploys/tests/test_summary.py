"""Sums, medians and the page made of them; the steps of a replacement, with a proxy that only takes notes."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import replacement  # noqa: E402
import report  # noqa: E402
import summary  # noqa: E402


def held(requests=0, tunnels=0, idle=0, new=0) -> dict:
    return {"requests": requests, "tunnels": tunnels, "idle": idle, "new": new}


def replaced(total_ms=2000.0, sockets=0, app=None, late=4) -> dict:
    return {
        "outcome": "drained",
        "phases_ms": dict.fromkeys(replacement.PHASES, 10.0),
        "total_ms": total_ms,
        "sockets_left": sockets,
        "commands": 3,
        "polls": 0,
        "late_ms": late,
        "app": {"held": app or held(), "abandoned": {"requests": 0, "tunnels": 0}},
    }


def block(proxy="tidegate", app="graceful", way="drained", done=(), failed=0, error="") -> dict:
    kind = {"sent": 500, "failed": failed, "in_windows": 100, "p50_ms": 1.0, "p99_ms": 5.0, "max_ms": 9.0}
    kind["failures"] = {"reset": failed} if failed else {}
    load = {
        "sent": 500,
        "failed": failed,
        "failed_in_windows": failed,
        "ws_closed_1001": 1,
        "late_max_ms": 2.0,
    }
    return {
        "proxy": proxy,
        "app": app,
        "way": way,
        "asked_for": 2,
        "error": error,
        "replacements": list(done),
        "load": {**load, "kinds": {"fast": kind}},
    }


class Sums(unittest.TestCase):
    def test_blocks_of_one_proxy_and_way_are_one_entry(self):
        blocks = [
            block(done=[replaced(), replaced()], failed=1),
            block(done=[replaced(sockets=3, app=held(idle=3)), replaced()]),
            block(way="control", done=[replaced()]),
            block(proxy="nginx", done=[replaced()]),
        ]
        entries = summary.of_blocks(blocks, ["tidegate", "nginx"])
        self.assertEqual(
            [(one["proxy"], one["way"]) for one in entries],
            [("tidegate", "drained"), ("nginx", "drained"), ("tidegate", "control")],
        )
        ours = entries[0]
        self.assertEqual(ours["replacements"], 4)
        self.assertEqual(ours["requests"]["failed"], 1)
        self.assertEqual(ours["requests"]["per_1000"], 1.0)
        self.assertEqual(ours["requests"]["kinds"]["fast"]["reasons"], {"reset": 1})
        self.assertEqual(ours["left"]["sockets"], {"sum": 3, "max": 3, "in": 1, "of": 4})
        self.assertEqual(ours["left"]["idle"]["sum"], 3)

    def test_the_interval_holds_the_median_and_is_always_the_same(self):
        values = [float(n) for n in range(1, 21)]
        found = summary.median_interval(values)
        self.assertEqual(found["median"], 10.5)
        self.assertTrue(found["low"] < 10.5 < found["high"] <= found["max"] == 20.0)
        self.assertEqual(found, summary.median_interval(values))
        self.assertIsNone(summary.median_interval([]))

    def test_what_cannot_be_told_is_left_out(self):
        entry = summary.of_blocks([block(done=[replaced(late=None), replaced(late=6)])], ["tidegate"])[0]
        self.assertEqual(entry["times_ms"]["late"]["of"], 1)
        self.assertEqual(entry["times_ms"]["late"]["median"], 6)


class Page(unittest.TestCase):
    def test_each_table_has_a_row_for_each_proxy_and_says_what_is_control(self):
        blocks = [block(done=[replaced()]), block(way="control", done=[replaced()], failed=7)]
        text = report.page(summary.of_blocks(blocks, ["tidegate"]), {"date": "today"})
        self.assertIn("| tidegate | 1 of 2 | 500 | 0 | 0.00 | 0 | 5 ms | 2 ms | - |", text)
        self.assertIn("| tidegate | 1 of 2 | 500 | 7 | 14.00 | 7 | 5 ms | 2 ms | fast reset 7 |", text)
        self.assertEqual(text.count("**Control"), 2)
        self.assertIn("- date: today", text)

    def test_a_block_without_any_replacement_has_no_row(self):
        text = report.page(summary.of_blocks([block(error="no")], ["tidegate"]), {})
        self.assertNotIn("| tidegate |", text)


class Late(unittest.TestCase):
    def test_it_is_told_only_if_nothing_was_held(self):
        ended = {"last_ended_unix_ms": 1000}
        self.assertEqual(replacement.late_ms({**ended, "held": held(idle=4)}, 1003), 3)
        self.assertIsNone(replacement.late_ms({**ended, "held": held(tunnels=1)}, 1003))
        self.assertIsNone(replacement.late_ms({}, 1003))


class Notes:
    """A proxy, an instance and a mark in one: it writes down what was asked of it."""

    name, port, commands, polls = "v1", 9, 0, 0

    def __init__(self):
        self.asked = []

    def __getattr__(self, step):
        return lambda *_: self.asked.append(step)

    def wait_drained(self, _old):
        self.asked.append("wait_drained")
        return "drained"

    def report(self):
        return {}


class Steps(unittest.TestCase):
    def setUp(self):
        replacement.SETTLE_SECONDS = 0

    def steps(self, waits: bool) -> list[str]:
        notes = Notes()
        done = replacement.replace(notes, notes, notes, lambda word, _ms: notes.asked.append(word), waits)
        self.assertEqual(list(done.phases_ms), replacement.PHASES)
        self.assertEqual(done.outcome, "drained" if waits else "control")
        return notes.asked

    def test_it_is_stopped_only_after_it_was_said_to_be_drained(self):
        self.assertEqual(
            self.steps(waits=True),
            ["start", "begin", "put_in", "take_out", "wait_drained", "stop", "remove", "end"],
        )

    def test_the_control_run_takes_the_same_steps_but_does_not_wait(self):
        self.assertEqual(
            self.steps(waits=False),
            ["start", "begin", "put_in", "begin_drain", "stop", "remove_undrained", "end"],
        )


if __name__ == "__main__":
    unittest.main()
