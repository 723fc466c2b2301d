#!/usr/bin/env python3
"""Breaks the program on purpose, one way at a time; each time the tests named for it must fail.

  tests/mutations/run.py --check     only whether every mutation still fits the sources; seconds
  tests/mutations/run.py             all of them: half a minute each, and a build before the first
  tests/mutations/run.py NAME...     some of them

A test that no mutation turns red proves nothing. The list is mutations.toml beside this file. The
sources are copied to target/mutations and broken there; nothing in the tree is touched.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "mutations"
# A wake-up that is lost shows as a test that waits for as long as it is patient.
SECONDS_MAX = 300


def load():
    with open(Path(__file__).with_name("mutations.toml"), "rb") as file:
        return tomllib.load(file)["mutation"]


def problems(mutation):
    """What does not fit: text that is not there once, tests that do not exist."""
    text = (ROOT / mutation["file"]).read_text()
    found = text.count(mutation["find"])
    if found != 1:
        yield f'{mutation["file"]}: found the text {found} times, expected once'
    if mutation["find"] == mutation["put"]:
        yield "nothing is changed"
    for test in mutation["tests"]:
        kind, path = test.split(" ")
        folder = {"lib": "src", "behaviour": "tests/behaviour", "claim_model": "tests"}[kind]
        name = path.rsplit("::", 1)[-1]
        defined = re.compile(rf"\bfn {name}\(")
        if not any(defined.search(file.read_text()) for file in (ROOT / folder).rglob("*.rs")):
            yield f"there is no test {test}"


def copy_sources():
    """The files under version control, those that changed since the last copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source, copy = ROOT / name, WORK / "tree" / name
        if not source.is_file():
            continue
        if copy.exists() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def run(tests):
    """Runs the named tests; returns those that failed, or None if nothing could be run."""
    failed = set()
    for kind in sorted({test.split(" ")[0] for test in tests}):
        target = ["--lib"] if kind == "lib" else ["--test", kind]
        paths = [test.split(" ")[1] for test in tests if test.startswith(kind + " ")]
        command = ["cargo", "test", "--locked", *target, "--", "--exact", *paths]
        environment = {**os.environ, "CARGO_TARGET_DIR": str(WORK / "target")}
        cargo = subprocess.Popen(
            command, cwd=WORK / "tree", env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        try:
            stdout, stderr = cargo.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            # Cargo and the tests that it started. What hangs has noticed.
            os.killpg(cargo.pid, signal.SIGKILL)
            cargo.communicate()
            failed |= {f"{kind} {path}" for path in paths}
            continue
        results = dict(re.findall(r"^test (\S+) \.\.\. (ok|FAILED)$", stdout, re.M))
        # A test that prints may stand between its name and its result; the summary has it too.
        listed = set(re.findall(r"^    (\S+)$", stdout, re.M))
        if not results and "could not compile" in stderr:
            print(stderr[-2000:], file=sys.stderr)
            return None
        # One that took the whole process down has no result.
        is_dead = cargo.returncode != 0
        failed |= {f"{kind} {path}" for path in paths
                   if results.get(path) == "FAILED" or path in listed
                   or (is_dead and path not in results)}
    return failed


def survivors(mutation):
    """The tests that did not notice, or why there is no answer."""
    file = WORK / "tree" / mutation["file"]
    whole = file.read_text()
    try:
        file.write_text(whole.replace(mutation["find"], mutation["put"]))
        failed = run(mutation["tests"])
    finally:
        file.write_text(whole)
    if failed is None:
        return ["it does not compile"]
    return [f"survived: {test}" for test in mutation["tests"] if test not in failed]


def main(arguments):
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    mutations = load()
    stale = [(m["name"], problem) for m in mutations for problem in problems(m)]
    for name, problem in stale:
        print(f"error: mutation {name}: {problem}", file=sys.stderr)
    if stale:
        return 1
    if arguments == ["--check"]:
        print(f"{len(mutations)} mutations fit the sources")
        return 0
    known = {mutation["name"] for mutation in mutations}
    for name in arguments:
        if name not in known:
            print(f'error: found mutation "{name}", expected one of: {", ".join(sorted(known))}',
                  file=sys.stderr)
            return 2
    chosen = [m for m in mutations if not arguments or m["name"] in arguments]
    copy_sources()
    tests = sorted({test for mutation in chosen for test in mutation["tests"]})
    red = run(tests)
    if red is None or red:
        print(f"error: red without a mutation: {red}", file=sys.stderr)
        return 1
    lost = 0
    for mutation in chosen:
        left = survivors(mutation)
        lost += bool(left)
        print(f'{"SURVIVED" if left else "caught":9} {mutation["name"]}: {mutation["why"]}', flush=True)
        for line in left:
            print(f"          {line}")
    print(f"{len(chosen) - lost} of {len(chosen)} caught")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
