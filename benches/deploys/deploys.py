"""Deploys under load, side by side: runs the blocks in random order and writes the report.

`run.sh` beside this file builds and finds what is needed and calls this. All of it runs on loopback, in
folders of its own, for a bounded time; what was started is ended, also when it is interrupted.
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import report
import summary
from block import APPS, CONTROL, DRAINED, GRACEFUL, SESSIONS, STEADY, Binaries, run_block
from proxies import PROXIES

OURS = "tidegate"
REPLACEMENTS_OURS, REPLACEMENTS, REPLACEMENTS_CONTROL, REPLACEMENTS_SESSIONS = 50, 20, 4, 2
STEADY_SECONDS = 40
BLOCK_MAX = 10  # replacements in a row by one proxy, so that what else the machine does is spread over all


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "--replacements",
        type=number(1, 10_000),
        metavar="N",
        help=f"of each proxy and app (default {REPLACEMENTS_OURS} for {OURS}, {REPLACEMENTS} for the others)",
    )
    add(
        "--control",
        type=number(0, 1000),
        default=REPLACEMENTS_CONTROL,
        metavar="N",
        help=f"of each in the control run without drain (default {REPLACEMENTS_CONTROL}; 0: none)",
    )
    add(
        "--sessions",
        type=number(0, 1000),
        default=REPLACEMENTS_SESSIONS,
        metavar="N",
        help=f"of each while WebSockets stay open for long (default {REPLACEMENTS_SESSIONS}; 0: none)",
    )
    add(
        "--steady",
        type=number(0, 3600),
        default=STEADY_SECONDS,
        metavar="SECONDS",
        help=f"of each without any replacement (default {STEADY_SECONDS}; 0: none)",
    )
    add(
        "--proxies",
        type=some_of(list(PROXIES)),
        default=list(PROXIES),
        metavar="A,B",
        help=f"some of {','.join(PROXIES)}",
    )
    add("--apps", type=some_of(APPS), default=APPS, metavar="A,B", help=f"some of {','.join(APPS)}")
    add("--seed", type=int, default=None, help="order of the blocks (default: the time)")
    add("--out", type=Path, required=True, help="folder for report.md, report.json, deploys.svg and .png")
    # Found by run.sh.
    for name in ["app-binary", "load-binary", *(f"{name}-binary" for name in PROXIES)]:
        add(f"--{name}", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def some_of(known: list[str]):
    def parse(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return [name for name in known if name in chosen]

    return parse


def number(low: int, high: int):
    def parse(text):
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low} to {high}")
        return int(text)

    return parse


def blocks_of(arguments) -> list[tuple[str, str, str, int]]:
    """(proxy, app, way, replacements or seconds), at most BLOCK_MAX at once."""
    blocks = []
    for proxy in arguments.proxies:
        usual = REPLACEMENTS_OURS if proxy == OURS else REPLACEMENTS
        for app in arguments.apps:
            left = arguments.replacements or usual
            while left > 0:
                blocks.append((proxy, app, DRAINED, min(left, BLOCK_MAX)))
                left -= BLOCK_MAX
            blocks.append((proxy, app, CONTROL, arguments.control))
            blocks.append((proxy, app, SESSIONS, arguments.sessions))
        blocks.append((proxy, GRACEFUL, STEADY, arguments.steady))
    return [block for block in blocks if block[3]]


def about(arguments, seed: int) -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    lines = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, {cpu.group(1) if cpu else '?'}, Linux {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "order of the blocks": f"random, seed {seed}",
    }
    versions = [f"{PROXIES[name].title} {version_of(arguments, name)}" for name in arguments.proxies]
    return {**lines, "proxies": ", ".join(versions)}


def version_of(arguments, name: str) -> str:
    kind = PROXIES[name]
    words = [str(getattr(arguments, f"{name}_binary")), *kind.version_words]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        raise SystemExit(f"error: {name}: does not start: {error}\nhint: run.sh --install") from error
    found = re.search(kind.version_pattern, said.stdout + said.stderr)
    return found.group(1) if found else "of unknown version"


def run_blocks(arguments, blocks) -> list[dict]:
    binaries = Binaries(
        arguments.app_binary,
        arguments.load_binary,
        {name: getattr(arguments, f"{name}_binary") for name in PROXIES},
    )
    results = []
    for place, (proxy, app, way, count) in enumerate(blocks, 1):
        unit = "seconds" if way == STEADY else "replacements"
        tell(f"block {place} of {len(blocks)}: {proxy}, {app}, {way}, {count} {unit}")
        result = run_block(binaries, proxy, app, way, count)
        tell(f"  {result['load']['sent']} requests, {result['load']['failed']} failed {result['error']}")
        results.append(result)
    return results


def tell(text: str):
    print(text.rstrip(), file=sys.stderr, flush=True)


def write(out: Path, document: dict) -> str:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    text = report.page(document["summary"], document["about"])
    (out / "report.md").write_text(text)
    return text


def main():
    arguments = parse_arguments()
    # Ended from outside, it still ends what it started.
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit("error: ended by a signal"))
    seed = time.time_ns() % 1_000_000 if arguments.seed is None else arguments.seed
    blocks = blocks_of(arguments)
    random.Random(seed).shuffle(blocks)
    lines = about(arguments, seed)
    began = time.monotonic()
    results = run_blocks(arguments, blocks)
    lines["took"] = f"{(time.monotonic() - began) / 60:.0f} minutes"
    found = summary.of_blocks(results, arguments.proxies)
    print(write(arguments.out, {"about": lines, "summary": found, "blocks": results}))
    import plot  # matplotlib, which --help and the tests do without

    plot.draw(found, arguments.out)
    errors = [f"{one['proxy']}, {one['app']}: {one['error']}" for one in results if one["error"]]
    if errors:
        sys.exit("\n".join(f"error: a deploy did not work: {error}" for error in errors))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("error: interrupted")
