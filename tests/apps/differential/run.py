"""Sends the corpus through nginx, HAProxy and tidegate, each in front of its own recording backend, and judges one.

`tests/scripts/differential_test.sh` calls this; its header says what is judged. corpus.py has the cases, strict.py the
reader that tolerates nothing, parties.py the proxies and the backend. The cases run one after another, so that what a
backend received can only be of the present one; the proxies run side by side.
"""

import argparse
import os
import sys
import tempfile
import threading
from pathlib import Path

import corpus
import judge
import parties


def parse_arguments():
    parser = argparse.ArgumentParser()
    for name in ["tidegate", "nginx", "haproxy"]:
        parser.add_argument(f"--{name}", required=True, metavar="BINARY")
    parser.add_argument("--subject", choices=parties.NAMES, default="tidegate")
    parser.add_argument("--part", default="", help="only cases whose name has this in it")
    parser.add_argument("--all", action="store_true", help="print every case")
    return parser.parse_args()


def run_all(proxy, requests, answers, found):
    try:
        for case in requests:
            found["request", case.name, proxy.name] = judge.send_request(proxy, case)
        for case in answers:
            found["answer", case.name, proxy.name] = judge.send_answer(proxy, case)
    except Exception as error:  # a thread's own end would go unseen
        found["error", "", proxy.name] = error
        raise


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    arguments = parse_arguments()
    requests = [case for case in corpus.REQUESTS if arguments.part in case.name]
    answers = [case for case in corpus.ANSWERS if arguments.part in case.name]
    found = {}
    with tempfile.TemporaryDirectory(prefix="tidegate-differential-") as folder:
        proxies = parties.make(arguments, Path(folder))
        try:
            for proxy in proxies:
                proxy.start()
            threads = [
                threading.Thread(target=run_all, args=(proxy, requests, answers, found))
                for proxy in proxies
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ended = [proxy.name for proxy in proxies if not proxy.is_running()]
        finally:
            for proxy in proxies:
                proxy.end()
    for key, error in found.items():
        if key[0] == "error":
            sys.exit(f"error: {key[2]}: {error}")
    if ended:
        sys.exit(f"error: {', '.join(ended)} ended by itself")
    report(arguments, requests, answers, found)


def report(arguments, requests, answers, found):
    subject = arguments.subject
    others = [name for name in parties.NAMES if name != subject]
    failed = 0
    for kind, cases, look in [
        ("request", requests, judge.request_problems),
        ("answer", answers, judge.answer_problems),
    ]:
        rows = []
        for case in cases:
            own = found[kind, case.name, subject]
            theirs = {name: found[kind, case.name, name] for name in others}
            problems = look(case, own, theirs)
            explained = corpus.EXPLAINED.get(case.name)
            note = ""
            if subject == "tidegate" and explained and problems == [judge.LAXER]:
                problems, note = [], f"explained: {explained}"
            if problems:
                failed += 1
                note = "WRONG: " + "; ".join(problems)
            verdicts = {outcome.verdict for outcome in [own, *theirs.values()]}
            if arguments.all or problems or len(verdicts) > 1:
                cells = [str(found[kind, case.name, name]) for name in [*others, subject]]
                rows.append([case.name, case.want, *cells, note])
        print(f"\n{len(cases)} {kind}s; {'all of them' if arguments.all else 'on which they differ'}:\n")
        table([[kind, "wanted", *others, subject, ""], *rows])
    print(f"\n{len(requests) + len(answers) - failed} passed, {failed} failed")
    sys.stdout.flush()
    os._exit(1 if failed else 0)  # threads of the backends still wait for bytes


if __name__ == "__main__":
    main()
