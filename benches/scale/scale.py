"""Measures what a request costs as the configuration grows, and writes the report.

`run.sh` beside this file builds and finds what is needed and calls this. All of it runs on
loopback, in a folder of its own, for a bounded time; what was started is ended, whatever happens.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "compare"))

import calls  # noqa: E402 - the folder beside this one comes first
import farm  # noqa: E402
import page  # noqa: E402
import parties  # noqa: E402
import peers  # noqa: E402
import points  # noqa: E402
import trial  # noqa: E402

PARTS = [*(name.replace(" ", "-") for name in points.SERIES), "probes", "calls", "instructions"]
REST_SIZES = [2, 500]
REST_ROUNDS_MAX = 3
CALL_ROUNDS = 20
CHART_SECONDS_MAX = 120
# Idle clients that do not fit the descriptors are cut down to whole steps of this.
IDLE_STEP = 500


@dataclass
class Bench:
    """The programs, and the backends when they run."""

    tidegate: Path
    wrk: Path
    valgrind: Path
    seconds: int
    backend: parties.Party


def parse_arguments(words=None):
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])

    def some_of(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in PARTS:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PARTS)}")
        return [name for name in PARTS if name in chosen]

    def number(low, high):
        def parse(text):
            if not text.isdecimal() or not low <= int(text) <= high:
                raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
            return int(text)

        return parse

    add = parser.add_argument
    add("--rounds", type=number(1, 1000), default=8, help="rounds (default 8)")
    add("--seconds", type=number(1, 60), default=1, help="length of one load (default 1)")
    add("--parts", type=some_of, default=PARTS, metavar="A,B", help=f"some of {','.join(PARTS)}")
    add("--idle-clients", type=number(1000, 100_000), default=max(points.IDLE_SIZES), metavar="N",
        help=f"most idle clients (default {max(points.IDLE_SIZES)})")
    add("--seed", type=int, default=None, help="order of the rounds (default: the time)")
    add("--out", type=Path, required=True, help="folder for report.md, report.json, chart.svg")
    # Found by run.sh.
    for name in ["tidegate-binary", "nginx", "wrk", "valgrind", "lock-file", "chart-python"]:
        add(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def idle_sizes(most, fit):
    """The sizes up to `most`, the last one cut down if descriptors do not allow it."""
    allowed = min(most, fit // IDLE_STEP * IDLE_STEP)
    sizes = [size for size in points.IDLE_SIZES if size <= allowed]
    return sizes if sizes[-1] == most else [*sizes, *([allowed] if allowed > sizes[-1] else [])]


def chosen_points(parts, sizes):
    chosen = []
    for name, make in points.SERIES.items():
        if name.replace(" ", "-") in parts:
            chosen += points.idle_series(sizes) if name == "idle clients" else make()
    return chosen


def run_rounds(bench, arguments, chosen, chance, folder):
    """Series after series; in each round all of its points in random order."""
    samples = []
    for number in range(1, arguments.rounds + 1):
        for series in dict.fromkeys(point.series for point in chosen):
            tell(f"round {number} of {arguments.rounds}: {series}")
            of_it = [point for point in chosen if point.series == series]
            for point in chance.sample(of_it, len(of_it)):
                sample = trial.timed(bench, point, folder / "trial")
                samples.append({"round": number, **sample})
    return samples


def run_rests(bench, arguments, chance, folder):
    if "probes" not in arguments.parts:
        return []
    rests = []
    kinds = [
        (size, probes)
        for size in REST_SIZES
        for probes in [points.PROBES_DEFAULT, points.PROBES_NEVER]
    ]
    for number in range(1, min(arguments.rounds, REST_ROUNDS_MAX) + 1):
        tell(f"probes, round {number}")
        for size, probes in chance.sample(kinds, len(kinds)):
            rests.append({"round": number, **trial.rest(bench, size, probes, folder / "rest")})
    return sorted(rests, key=lambda entry: (entry["backends"], entry["probes"]))


def run_counted(bench, arguments, chosen, folder):
    if "instructions" not in arguments.parts:
        return []
    counts = []
    for point in filter(points.is_counted, chosen):
        tell(f"instructions: {point.key()}")
        try:
            counts.append(trial.counted(bench, point, folder / "counted"))
        except SystemExit as error:
            # A machine so busy that valgrind runs into a timeout must not cost the report.
            tell(f"not counted: {error}")
    return counts


def about(arguments, seed, sizes):
    """Date, versions and machine, as the report shows them."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    wrk = peers.version([arguments.wrk, "-v"], r"wrk \S*?([\d.]+)")
    lines = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {cpu}, Linux {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "rounds": f"{arguments.rounds} of {arguments.seconds} s each; order by seed {seed}",
        "load": f"wrk {wrk}, 32 connections, GET of 13 bytes, on the same cores as all the rest",
        "backends": "nginx " + peers.version([arguments.nginx, "-v"], r"nginx/(\S+)"),
        "tidegate": "tidegate " + peers.locked_version(arguments.lock_file, "tidegate"),
    }
    if "instructions" in arguments.parts:
        valgrind = peers.version([arguments.valgrind, "--version"], r"valgrind-(\S+)")
        lines["instructions counted by"] = f"valgrind {valgrind}"
    if sizes[-1] < arguments.idle_clients:
        lines["idle clients"] = f"at most {sizes[-1]:,}: more do not fit this user's descriptors"
    return lines


def tell(text):
    print(text, file=sys.stderr, flush=True)


def main():
    arguments = parse_arguments()
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    chance = random.Random(seed)
    sizes = idle_sizes(arguments.idle_clients, farm.raise_descriptors(arguments.idle_clients))
    chosen = chosen_points(arguments.parts, sizes)
    lines = about(arguments, seed, sizes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tidegate-scale-") as name:
        folder = Path(name)
        backend = farm.backends(arguments.nginx, folder, os.geteuid() == 0, points.WHOLE_BACKENDS)
        bench = Bench(
            arguments.tidegate_binary, arguments.wrk, arguments.valgrind, arguments.seconds, backend
        )
        try:
            backend.start()
            samples = run_rounds(bench, arguments, chosen, chance, folder)
            rests = run_rests(bench, arguments, chance, folder)
            called = None
            if "calls" in arguments.parts:
                tell("calls")
                called = calls.run(bench, CALL_ROUNDS, chance, folder)
            counts = run_counted(bench, arguments, chosen, folder)
        finally:
            backend.end()
    write(arguments.out, lines, chosen, samples, rests, called, counts)
    if samples:
        draw(arguments)
    errors = sum(sample["errors"] for sample in samples)
    if errors:
        sys.exit(f"error: {errors} requests failed, so the figures above do not count")


def write(out, lines, chosen, samples, rests, called, counts):
    probes = page.probe_cost(rests)
    rows = page.summary(chosen, samples, counts, probes)
    calls_found = page.calls_summary(called) if called else None
    document = {
        "about": lines,
        "points": rows,
        "probes": probes,
        "calls": calls_found,
        "rounds": samples,
        "probe_rounds": rests,
        "call_rounds": called,
        "instructions": counts,
    }
    (out / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    text = page.page(rows, probes, calls_found, lines)
    (out / "report.md").write_text(text)
    print(text)


def draw(arguments):
    """By a program of its own, since matplotlib lives in an environment of its own."""
    out = arguments.out
    chart = Path(__file__).with_name("chart.py")
    command = [arguments.chart_python, chart, out / "report.json", out / "chart.svg", out / "chart.png"]
    if subprocess.run(command, check=False, timeout=CHART_SECONDS_MAX).returncode != 0:
        sys.exit("error: the chart was not drawn; the report was written")


if __name__ == "__main__":
    main()
