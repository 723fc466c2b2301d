"""Clients that made one request each and stay: the memory they hold, and what they cost the others."""

import select
import socket
import time

import measure
from parties import HOST, SMALL_BODY

# So many connect before the first of them is answered: fewer than any listener's queue.
BATCH = 100
QUIET_SECONDS = 1
WARM_SECONDS = 0.5


class IdleClients:
    """`count` connections to a proxy, each having had one answer, open from `with` to its end."""

    def __init__(self, party, count):
        self.party = party
        self.count = count
        self.held = []

    def __enter__(self):
        try:
            while len(self.held) < self.count:
                self.connect(min(BATCH, self.count - len(self.held)))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        while self.held:
            self.held.pop().close()

    def connect(self, count):
        request = f"GET /small HTTP/1.1\r\nHost: {HOST}:{self.party.port}\r\n\r\n".encode()
        batch = []
        for _ in range(count):
            client = socket.create_connection((HOST, self.party.port), timeout=5)
            self.held.append(client)
            batch.append(client)
            client.sendall(request)
        for client in batch:
            self.read_answer(client)

    def read_answer(self, client):
        answer = b""
        while not answer.endswith(SMALL_BODY):
            piece = client.recv(65536)
            if not piece:
                raise SystemExit(f"error: {self.party.name} closed one of {len(self.held)} idle clients")
            answer += piece

    def expect_all_open(self):
        """A connection on which something can be read was closed, or was sent what nobody asked for."""
        poll = select.poll()
        for client in self.held:
            poll.register(client, select.POLLIN)
        if poll.poll(0):
            raise SystemExit(f"error: {self.party.name} did not keep all {self.count} clients")


def memory_once(party, connections):
    """Resident memory of a fresh process before and while idle clients hold connections."""
    party.start()
    try:
        time.sleep(WARM_SECONDS)
        before = measure.resident_bytes(party.process.pid)
        with IdleClients(party, connections) as clients:
            time.sleep(QUIET_SECONDS)
            after = measure.resident_bytes(party.process.pid)
            peak = measure.peak_bytes(party.process.pid)
            clients.expect_all_open()
    finally:
        party.end()
    return {
        "proxy": party.name,
        "connections": connections,
        "start_bytes": before,
        "peak_bytes": peak,
        "bytes_per_connection": (after - before) / connections,
    }


def load_once(wrk, party, backend, connections, seconds):
    """The workload `small` while idle clients hold connections to the same proxy."""
    with IdleClients(party, connections) as clients:
        # What the last of them caused is not the load's.
        time.sleep(measure.SETTLE_SECONDS)
        sample = measure.load_once(wrk, party, backend, measure.WORKLOADS["small"], seconds)
        clients.expect_all_open()
    time.sleep(measure.SETTLE_SECONDS)
    return {**sample, "workload": "idle"}
