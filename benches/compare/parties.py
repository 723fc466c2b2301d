"""Who takes part, as a process: its configuration filled in, its start, its first answer and its end.

The configurations are the files in `configs/`, with `@name@` where a port or a folder goes; what is set
in them, and by which section of whose manual, is said there. `peers.py` knows the proxies, this file the
backend. Only processes started here are ended, each by its id.
"""

import http.client
import os
import re
import signal
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS_MAX = 30
END_SECONDS_MAX = 5
SMALL_BODY = b"Hello, world!"
FILES = {"64k": 64 * 1024, "1m": 1024 * 1024}
CONFIGS = Path(__file__).with_name("configs")


class Party:
    """A running process that answers HTTP on `port`."""

    def __init__(self, name, command, port, folder, environment=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.port = port
        self.log = folder / f"{name}.log"
        self.environment = environment or {}
        self.process = None

    def start(self, under=()):
        """Starts it, `under` the words of another program such as valgrind."""
        with self.log.open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    [*under, *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **self.environment},
                )
            except OSError as error:
                raise SystemExit(f"error: {self.name} does not start: {error}") from error
        deadline = time.monotonic() + START_SECONDS_MAX
        while fetch(self.port, "/small") != (200, SMALL_BODY):
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"error: {self.name} does not answer; its log ends:\n{text}")
            time.sleep(0.1)

    def end(self):
        # SIGINT ends each of them at once: the measurement is over, nothing is worth a grace period.
        if self.process is None:
            return
        members = family(self.process.pid)
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            for member in members:
                kill_if_there(member)
            self.process.wait()
        self.process = None


def family(pid):
    """A process and its descendants."""
    pids = [pid]
    for parent in pids:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids += [int(child) for child in children.read_text().split()]
            except FileNotFoundError:
                continue
    return pids


def kill_if_there(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def fetch(port, path, method="GET", body=None):
    """One request on its own connection: (status, body), or None if there was no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def write_config(name, folder, **values):
    """A file of `configs/` with its places filled, written into `folder`."""
    values = {"host": HOST, "folder": folder, **values}
    text = (CONFIGS / name).read_text()
    path = folder / name
    path.write_text(re.sub(r"@(\w+)@", lambda place: str(values[place.group(1)]), text))
    return path


def nginx_user(is_root):
    """Its worker would otherwise give up root, and with that the temporary folder."""
    return "user root;\n" if is_root else ""


def backend(nginx, port, folder, is_root):
    files = folder / "files"
    files.mkdir()
    for name, size in FILES.items():
        (files / name).write_bytes(b"x" * size)
    config = write_config(
        "backend.conf", folder, user=nginx_user(is_root), port=port, small=SMALL_BODY.decode()
    )
    command = [nginx, "-p", folder, "-e", folder / "backend-error.log", "-c", config]
    return Party("backend", command, port, folder)


def echo_backend(binary, port, folder):
    """The other end of the WebSockets, `ws/serve.go`."""
    return Party("echo", [binary, "serve", f"{HOST}:{port}"], port, folder, {"GOMAXPROCS": "1"})
