"""Bad arguments exit with 2 and say what was found; what does not fit is cut down."""

import subprocess
import sys
import tempfile
import unittest

from . import support
import scale

FOUND = ["--out", "/tmp/x", "--tidegate-binary", "t", "--nginx", "n", "--wrk", "w"]
FOUND += ["--valgrind", "v", "--lock-file", "l", "--chart-python", "p"]


def refused(*words):
    """What the program says of these arguments, and its exit code."""
    ran = subprocess.run(
        [sys.executable, support.SCALE / "scale.py", *FOUND, *words],
        capture_output=True, text=True, check=False, timeout=30,
    )
    return ran.returncode, ran.stderr


class Arguments(unittest.TestCase):
    def test_what_is_no_part_or_no_number_is_refused(self):
        code, said = refused("--parts", "backends,pool")
        self.assertEqual(code, 2)
        self.assertIn("'pool' is none of backends, pools, routes, idle-clients, workers", said)
        for words in [("--rounds", "0"), ("--seconds", "x"), ("--idle-clients", "5"), ("--what",)]:
            self.assertEqual(refused(*words)[0], 2, words)

    def test_parts_come_in_their_own_order(self):
        arguments = scale.parse_arguments([*FOUND, "--parts", "calls,backends"])
        self.assertEqual(arguments.parts, ["backends", "calls"])

    def test_run_sh_without_a_value_or_a_build_says_so(self):
        run = support.SCALE / "run.sh"
        ran = subprocess.run(
            [run, "--out"], capture_output=True, text=True, check=False, timeout=30
        )
        self.assertEqual((ran.returncode, ran.stderr), (2, "error: --out needs a value\n"))
        # Without the tools it stops before that, with the same code.
        with tempfile.TemporaryDirectory() as empty:
            ran = subprocess.run(
                [run, "--no-build"], capture_output=True, text=True, check=False, timeout=30,
                env={"PATH": "/usr/bin:/bin", "CARGO_TARGET_DIR": empty},
            )
        self.assertEqual(ran.returncode, 1)
        self.assertIn("error: ", ran.stderr)
        self.assertIn("hint: ", ran.stderr)


class IdleSizes(unittest.TestCase):
    def test_what_does_not_fit_is_cut_down_to_whole_steps(self):
        self.assertEqual(scale.idle_sizes(10_000, 10_000), [0, 1000, 5000, 10_000])
        self.assertEqual(scale.idle_sizes(10_000, 9544), [0, 1000, 5000, 9500])
        self.assertEqual(scale.idle_sizes(10_000, 1499), [0, 1000])
        self.assertEqual(scale.idle_sizes(10_000, 300), [0])
        self.assertEqual(scale.idle_sizes(20_000, 20_000), [0, 1000, 5000, 10_000, 20_000])

    def test_instructions_alone_have_points_only_of_the_series_named(self):
        chosen = scale.chosen_points(["idle-clients", "instructions"], [0, 1000])
        self.assertEqual([point.size for point in chosen], [0, 1000])


if __name__ == "__main__":
    unittest.main()
