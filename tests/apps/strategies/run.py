"""Deploys by the scripts in deploy/scripts, each strategy again and again under load, with Go, Node and Python apps.

`tests/scripts/strategies_test.sh` calls this; its header says what is judged. deploys.py has the strategies, corners.py
what goes wrong on purpose, apps.py the proxy, the apps and the load, supervisor.py starts and stops the instances.

For each strategy there is one proxy with a pool for each app. All apps are deployed at the same time, each by scripts of
its own, while each has load of every kind.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import apps
import corners
import deploys
import kinds
from process import Wrong

KINDS = ["go", "node", "uvicorn"]
LOGS_MAX = 60  # lines of the scripts' words that are printed when something is wrong


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ["tidegate", "app", "load", "node", "python"]:
        parser.add_argument(f"--{name}", required=True, metavar="BINARY")
    parser.add_argument("--rounds", type=int, required=True)
    names = [name for name, _, _ in deploys.ALL] + [name for name, _ in corners.ALL]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(names))
    arguments = parser.parse_args()
    for name in arguments.scenarios:
        if name not in names:
            parser.error(f"found {name!r}, expected some of {', '.join(names)}")
    arguments.scenarios = arguments.scenarios or names
    return arguments


def strategy(name, deploy, count, tools, folder, rounds):
    """Its problems."""
    def all_rounds(app):
        for round in range(1, rounds + 1):
            deploy(app, round)

    chosen = [kind for kind in kinds.KINDS if kind.name in KINDS]
    problems = []
    with apps.Stage(chosen, tools, folder, count, rounds=rounds) as stage:
        apps.each(stage.apps, all_rounds)
        apps.each(stage.apps, apps.App.judge, rounds)
        for app in stage.apps:
            if app.result:
                print(f"  {name:16} {app.name:8} {rounds:3} rounds {len(app.supervisor.stopped):4} stopped "
                      f"{app.result['sent']:7} requests {app.result['failed']:4} failed", flush=True)
            problems += [f"{app.name}: {problem}" for problem in app.problems]
            if app.problems:
                print_end(app.folder / "scripts.log")
        stage.front.end()
    return problems


def print_end(path):
    if path.exists():
        print(*(f"  | {line}" for line in path.read_text().splitlines()[-LOGS_MAX:]), sep="\n")


def main():
    for number in [signal.SIGTERM, signal.SIGHUP]:
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that all is cleared up
    arguments = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="tidegate-strategies-"))
    binaries = {name: getattr(arguments, name) for name in ["tidegate", "app", "load", "node", "python"]}
    tools = kinds.Tools(folder, nginx="", **binaries)
    scenarios = [
        (name, lambda where, d=deploy, c=count, n=name: strategy(n, d, c, tools, where, arguments.rounds))
        for name, deploy, count in deploys.ALL
    ] + [(name, lambda where, c=corner: c(tools, where)) for name, corner in corners.ALL]
    passed = failed = 0
    for name, scenario in scenarios:
        if name not in arguments.scenarios:
            continue
        print(f"=== {name}", flush=True)
        began = time.monotonic()
        try:
            problems = scenario(folder / name)
        except Wrong as error:
            problems = [str(error)]
        for problem in problems:
            print(f"  WRONG: {problem}")
        passed, failed = passed + (not problems), failed + bool(problems)
        print(f"{'FAIL' if problems else 'ok'}  {name} ({time.monotonic() - began:.0f} s)", flush=True)
    if failed:
        print(f"logs and results are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
