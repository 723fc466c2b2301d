"""What runs: one nginx that is all the backends, a fresh tidegate for each measurement, clients.

The backends are one nginx worker that listens on as many loopback addresses as there are backends at
most, on one port. It also listens on 127.0.0.1 there, where it says what it counted. Every answer
is the same, whatever the host and path. Only processes started here are ended, each by its id.
"""

import http.client
import json
import re
import resource
import select
import socket
import struct
import time

import points
from parties import HOST, SMALL_BODY, Party, fetch

HEALTHY_SECONDS_MAX = 120
CALL_SECONDS_MAX = 60
HELD_SECONDS_MAX = 60
SETTLE_SECONDS = 0.5
# Descriptors beyond those of clients: connections to backends, listeners, files, a reserve.
SPARE_DESCRIPTORS = 2000
# What the proxy itself keeps in reserve, and clients beside the idle ones.
RESERVE = 512
OTHER_CLIENTS_MAX = 200

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
{listens}
    location = /counts {{ stub_status; }}
    location / {{ return 200 "{small}"; }}
  }}
}}
"""


def backends(nginx, folder, is_root, count):
    """The nginx that is all backends; not started."""
    port = free_ports(1)[0]
    addresses = [HOST, *(points.address_of(number) for number in range(count))]
    listens = "\n".join(f"    listen {address}:{port} backlog=1024;" for address in addresses)
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            user="user root;\n" if is_root else "",
            folder=folder,
            listens=listens,
            small=SMALL_BODY.decode(),
        )
    )
    command = [nginx, "-p", folder, "-e", folder / "nginx-error.log", "-c", config]
    return Party("backends", command, port, folder)


def requests_served(backend):
    """How many requests the backends have read so far, probes and this question included."""
    answer = fetch(backend.port, "/counts")
    if answer is None:
        raise SystemExit("error: the backends do not answer")
    return int(re.search(rb"\d+ \d+ (\d+)", answer[1]).group(1))


def free_ports(count):
    """Ports that nobody listens on now; all are held until the last is found."""
    held = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


def raise_descriptors(clients_max):
    """Raises the limit so that so many clients fit, or as far as it goes: how many do fit.

    The proxy allows so many clients that each may have a connection to a backend too.
    """
    wanted = 2 * clients_max + SPARE_DESCRIPTORS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return clients_max
    try:
        # Only root may.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        return clients_max
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return max(0, (hard - RESERVE) // 2 - OTHER_CLIENTS_MAX)


class Proxy(Party):
    """A tidegate of one shape, with its own folder, ports and admin socket."""

    def __init__(self, binary, shape, folder, backend_port):
        folder.mkdir(exist_ok=True)
        port, metrics_port = free_ports(2)
        self.shape = shape
        self.where = points.Places(str(folder), port, metrics_port, backend_port)
        self.config = folder / "tidegate.yaml"
        self.binary = binary
        super().__init__("tidegate", [binary, "run", "-c", self.config], port, folder)

    def start(self, under=()):
        """Starts it and waits until every backend is healthy."""
        self.write()
        super().start(under)
        self.wait_until_healthy()

    def write(self, first_weight=1):
        self.config.write_text(points.configuration(self.shape, self.where, first_weight))

    def wait_until_healthy(self):
        deadline = time.monotonic() + HEALTHY_SECONDS_MAX
        while (eligible := self.eligible()) < self.shape.backends_total():
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"error: tidegate: {eligible} backends are eligible after "
                    f"{HEALTHY_SECONDS_MAX} s, expected {self.shape.backends_total()}"
                )
            time.sleep(0.05)

    def eligible(self):
        pools = json.loads(self.call("GET", "/v1/pools"))["pools"]
        return sum(pool["eligible"] for pool in pools)

    def call(self, method, path, body=None):
        """One call of the admin API on its unix socket; the body of a good answer."""
        connection = UnixConnection(f"{self.where.folder}/admin.sock")
        fields = {"Content-Type": "application/json"} if body else {}
        try:
            connection.request(method, path, body=body, headers=fields)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SystemExit(f"error: tidegate: {method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise SystemExit(
                f"error: tidegate: {method} {path}: found {answer.status}, expected 200: {text[:300]!r}"
            )
        return text


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("tidegate", timeout=CALL_SECONDS_MAX)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Clients:
    """Client connections that ask in lockstep: all send before the first answer is read.

    So the proxy finds as much work at once as under load, and always the same.
    """

    def __init__(self, point, port, count):
        self.what = point.key()
        self.request = f"GET {point.path} HTTP/1.1\r\nHost: {point.host}\r\n\r\n".encode()
        self.held = []
        try:
            for _ in range(count):
                client = socket.create_connection((HOST, port), timeout=HELD_SECONDS_MAX)
                self.held.append(client)
                # Reset at the close, or thousands of ports would be in TIME_WAIT after each round.
                linger = struct.pack("ii", 1, 0)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except OSError as error:
            self.close()
            raise SystemExit(f"error: {self.what}: client {len(self.held)}: {error}") from error

    def round(self, at_once=64):
        """A request on every connection, so many at a time."""
        for start in range(0, len(self.held), at_once):
            some = self.held[start : start + at_once]
            for client in some:
                client.sendall(self.request)
            for client in some:
                self.read(client)

    def rounds(self, count):
        for _ in range(count):
            self.round()

    def read(self, client):
        answer = b""
        while not answer.endswith(SMALL_BODY):
            piece = client.recv(65536)
            if not piece:
                raise SystemExit(f"error: {self.what}: closed after {answer[:80]!r}")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"error: {self.what}: found {answer[:80]!r}, expected 200")

    def check_kept(self):
        """All are still open."""
        poll = select.poll()
        for client in self.held:
            poll.register(client, select.POLLIN)
        if gone := len(poll.poll(0)):
            raise SystemExit(f"error: {self.what}: {gone} of {len(self.held)} clients were closed")

    def close(self):
        for client in self.held:
            client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
