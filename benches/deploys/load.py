"""The open-loop load (tests/apps/load) that runs through a proxy while it deploys, and what it says of it."""

import json
import signal
import subprocess
from pathlib import Path

KINDS = ["fast", "slow", "stream", "post", "upload", "ws"]
# Requests per second, as in tests/scripts/deploy_test.sh.
RATES = "fast=200,slow=20,stream=10,post=40,upload=10,ws=10"
# What each takes by itself. A WebSocket session takes longer than any request: a proxy that does not wait for
# tunnels is seen to cut them.
SHAPE = ["-slow", "1.5s", "-events", "15", "-gap", "100ms", "-upload", "1s"]
LONGEST_SECONDS = 2.0
# With --sessions WebSockets stay open much longer than any request, as those of a chat do.
SESSION_SECONDS = 10.0
WARM_SECONDS = LONGEST_SECONDS + 0.5  # all kinds are in flight
RUN_SECONDS_MAX = 1800  # it is told when to end; this is for the case that nobody is left to tell it
END_SECONDS_MAX = 40  # the longest session and the load's -cap


class Load:
    def __init__(self, binary: Path, port: int, folder: Path, ws_seconds: float = LONGEST_SECONDS):
        self.windows = folder / "windows"
        self.result_file = folder / "load.json"
        self.log = folder / "load.log"
        self.command = [
            str(binary),
            "-target",
            f"http://127.0.0.1:{port}",
            "-rate",
            RATES,
            "-duration",
            f"{RUN_SECONDS_MAX}s",
            *SHAPE,
            "-ws",
            f"{ws_seconds}s",
            "-windows",
            str(self.windows),
            "-json",
            str(self.result_file),
        ]
        self.process: subprocess.Popen | None = None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def mark(self, word: str, unix_ms: int):
        """`begin` and `end` of a deploy: what overlaps it counts as being in its window."""
        with self.windows.open("a") as file:
            file.write(f"{word} {unix_ms}\n")

    def finish(self) -> dict:
        """No new request; what is open comes to its end; the result."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS_MAX)
        try:
            return summary_of(json.loads(self.result_file.read_text()))
        except (OSError, ValueError) as error:
            said = self.log.read_text(errors="replace")[-500:]
            raise SystemExit(
                f"error: load: found no result ({error}), expected {self.result_file.name}\nhint: {said}"
            ) from error

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def summary_of(result: dict) -> dict:
    """Of the load's own document: what the report needs.

    The load says `status_502(app)` of every error that does not carry tidegate's header. The app answers
    nothing but 200 here, so these were made by the proxy.
    """
    kinds = {}
    for kind, found in result["kinds"].items():
        failures = {reason.replace("(app)", "(proxy)"): n for reason, n in found["failures"].items()}
        kinds[kind] = {
            "sent": found["sent"],
            "failed": found["failed"],
            "in_windows": found["in_windows"],
            "failures": failures,
            "p50_ms": found["p50_ms"],
            "p99_ms": found["p99_ms"],
            "max_ms": found["max_ms"],
        }
    samples = [{**one, "reason": one["reason"].replace("(app)", "(proxy)")} for one in result["samples"]]
    return {
        "sent": result["sent"],
        "failed": result["failed"],
        "failed_in_windows": result["failed_in_windows"],
        "ws_closed_1001": result["ws_closed_1001"],
        "late_max_ms": result["late_max_ms"],
        "kinds": kinds,
        "samples": samples[:20],
    }
