"""What the ASGI and the WSGI app share: the bytes they answer with, and their record of what they hold.

Both are told by the environment: APP_PORT, APP_VERSION, and APP_REPORT, the beginning of the report's name, to which the
process id is added, because a server may have several processes.
"""

import functools
import json
import os
import signal
import socket
import stat
import threading
from pathlib import Path
from urllib.parse import parse_qs

PORT = int(os.environ["APP_PORT"])
VERSION = os.environ["APP_VERSION"]
REPORT = os.environ["APP_REPORT"]

TCP_ESTABLISHED = 1  # the first byte of struct tcp_info is the state: linux/tcp.h, net/tcp_states.h


def numbers(query):
    """The query parameters as numbers."""
    return {name: int(values[0]) for name, values in parse_qs(query).items()}


# --- the bytes -----------------------------------------------------------------------------------------------------

FACTOR, STEP, WORD = 1664525, 1013904223, 0xFFFFFFFF
LANES = 2048
LETTERS = bytes(97 + byte % 26 for byte in range(256))


@functools.lru_cache(maxsize=256)
def pattern(seed, n):
    """The same function as in the other apps and the load generator: n bytes that depend on the seed and the place of each.

    One at a time 200 kB take a tenth of a second, in which nobody else is served. So only the first LANES are made
    one at a time; then all of them, each in 64 bits of one large number, take LANES steps at once.
    """
    x = (seed * 2654435761 + 1) & WORD
    first = []
    for _ in range(min(n, LANES)):
        x = (x * FACTOR + STEP) & WORD
        first.append(x)
    lanes = sum_of(first)
    body = bytearray()
    while len(body) < n:
        body += lanes.to_bytes(8 * len(first), "little")[3::8]
        lanes = (lanes * JUMP_FACTOR + JUMP_STEPS) & LANE_MASK
    return bytes(body[:n]).translate(LETTERS)


def sum_of(words):
    return int.from_bytes(b"".join(word.to_bytes(8, "little") for word in words), "little")


JUMP_FACTOR, JUMP_STEP = 1, 0
for _ in range(LANES):
    JUMP_FACTOR, JUMP_STEP = JUMP_FACTOR * FACTOR & WORD, (JUMP_STEP * FACTOR + STEP) & WORD
JUMP_STEPS, LANE_MASK = sum_of([JUMP_STEP] * LANES), sum_of([WORD] * LANES)


# --- the record ----------------------------------------------------------------------------------------------------


class Open:
    """Counts what is open: `with open_requests:` around each."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.count += 1

    def __exit__(self, *_):
        with self.lock:
            self.count -= 1


open_requests = Open()
open_tunnels = Open()


def connections():
    """Connections to the app's port that this process has and whose other side has not closed them.

    The sockets themselves are asked: it is exact, and independent of what the server knows about them yet.
    """
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptor = os.dup(int(name))
        except OSError:  # it was the listing's own
            continue
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        with socket.socket(fileno=descriptor) as one:
            if one.family != socket.AF_INET or one.getsockname()[1] != PORT:
                continue
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
            count += info[0] == TCP_ESTABLISHED
    return count


def write_report():
    held = {"connections": connections(), "requests": open_requests.count, "tunnels": open_tunnels.count}
    # Whose connection is gone is not held, even if the server is still tidying up after it.
    for kind in ["requests", "tunnels"]:
        held[kind] = min(held[kind], held["connections"])
    path = Path(f"{REPORT}.{os.getpid()}")
    new = Path(f"{path}.new")
    new.write_text(json.dumps({"version": VERSION, "pid": os.getpid(), "held": held}))
    new.rename(path)


def report_at_sigterm():
    """Looks at what is held before the server's own handler of SIGTERM, which must be set already, begins to end it."""
    server = signal.getsignal(signal.SIGTERM)
    if not callable(server):
        raise SystemExit("error: the server has no handler of SIGTERM yet")

    def handler(number, frame):
        write_report()
        server(number, frame)

    signal.signal(signal.SIGTERM, handler)
    signal.siginterrupt(signal.SIGTERM, False)  # as gunicorn has it, undone by the line above
