"""An instance of the app (tests/apps/go): its start, its end, and what it says it held at SIGTERM."""

import json
import os
import select
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS_MAX = 15
# Go's Shutdown waits up to 5 s for a connection on which nothing was asked yet; the app itself cuts after 15
# s.
STOP_SECONDS_MAX = 20


class Instance:
    def __init__(self, binary: Path, name: str, folder: Path, exits_at_once: bool):
        self.name = name
        self.report_file = folder / f"{name}.report"
        self.address = ""
        self.command = [
            str(binary),
            "-listen",
            "127.0.0.1:0",
            "-version",
            name,
            "-report",
            str(self.report_file),
            "-addr-file",
            str(folder / f"{name}.addr"),
        ]
        if exits_at_once:
            self.command.append("-exit-at-once")
        self.address_file = folder / f"{name}.addr"
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def start(self):
        """Returns when it listens and answers its own health check, asked without any proxy."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"error: app {self.name}: found no answer on /up, expected 200\nhint: {self._said()}"
                )
            time.sleep(0.01)

    def _answers(self) -> bool:
        if not self.address:
            if not self.address_file.exists():
                return False
            self.address = self.address_file.read_text().strip()
        try:
            with urllib.request.urlopen(f"http://{self.address}/up", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-500:] or "it said nothing"

    def stop(self):
        """SIGTERM, and back as soon as the process is gone."""
        exited = os.pidfd_open(self.process.pid)
        try:
            self.process.send_signal(signal.SIGTERM)
            if not wait_readable(exited, STOP_SECONDS_MAX):
                self.process.kill()
        finally:
            os.close(exited)
        self.process.wait()

    def end(self):
        """At the end of everything, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def report(self) -> dict:
        """What it wrote down at SIGTERM; empty if it had to be killed."""
        try:
            return json.loads(self.report_file.read_text())
        except (OSError, ValueError):
            return {}


def wait_readable(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
