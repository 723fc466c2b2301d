"""Who takes part: the backend and the proxies, each with its configuration, start and end.

Each proxy has one worker thread, keeps connections to the backend, writes no access log and, where
it can, probes the backend once a second. Only processes started here are ended, each by its id.
"""

import http.client
import re
import signal
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS_MAX = 30
END_SECONDS_MAX = 10
SMALL_BODY = b"Hello, world!"
FILES = {"64k": 64 * 1024, "1m": 1024 * 1024}

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  open_file_cache max=16 inactive=1h;
  default_type application/octet-stream;
  client_body_buffer_size 64k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream sink {{
    server unix:{folder}/sink.sock;
    keepalive 64;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {host}:{port} backlog=4096;
    root {folder}/files;
    location = /small {{ return 200 "{small}"; }}
    location = /counts {{ stub_status; }}
    # nginx answers `return` before it has read the body; a detour makes it read all of it first.
    location = /post {{
      proxy_pass http://sink;
      proxy_method GET;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_pass_request_body off;
    }}
  }}
  server {{
    listen unix:{folder}/sink.sock backlog=4096;
    location / {{ return 200 "{small}"; }}
  }}
}}
"""

HAPROXY = """\
global
  nbthread 1
  maxconn {connections_max}
defaults
  mode http
  http-reuse always
  timeout connect 1s
  timeout http-request 10s
  timeout http-keep-alive 75s
  timeout client 75s
  timeout server 60s
frontend clients
  bind {host}:{port}
  default_backend app
backend app
  option httpchk GET /small
  server a {host}:{backend} check inter 1s
"""

TIDEGATE = """\
workers: 1
admin: {{socket: {folder}/admin.sock}}
metrics: {{address: "{host}:{metrics}"}}
listeners:
  - {{address: "{host}:{port}"}}
pools:
  app:
    backends: [{{id: a, address: "{host}:{backend}"}}]
    health: {{http: /small, interval: 1s, timeout: 1s}}
routes: [{{path: /, pool: app}}]
"""


class Party:
    """A running process that answers HTTP on `port`."""

    def __init__(self, name, command, port, folder):
        self.name = name
        self.command = [str(word) for word in command]
        self.port = port
        self.log = folder / f"{name}.log"
        self.process = None

    def start(self, under=()):
        """Starts it, `under` the words of another program such as valgrind."""
        with self.log.open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    [*under, *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


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


def backend(nginx, port, folder, is_root):
    files = folder / "files"
    files.mkdir()
    for name, size in FILES.items():
        (files / name).write_bytes(b"x" * size)
    config = folder / "nginx.conf"
    user = "user root;\n" if is_root else ""
    config.write_text(
        NGINX.format(user=user, folder=folder, host=HOST, port=port, small=SMALL_BODY.decode())
    )
    command = [nginx, "-p", folder, "-e", folder / "nginx-error.log", "-c", config]
    return Party("backend", command, port, folder)


def haproxy(binary, port, backend_port, folder, connections_max):
    config = folder / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(host=HOST, port=port, backend=backend_port, connections_max=connections_max)
    )
    return Party("haproxy", [binary, "-db", "-f", config], port, folder)


def bare(binary, port, backend_port, folder):
    return Party("bare", [binary, f"{HOST}:{port}", f"{HOST}:{backend_port}"], port, folder)


def tidegate(binary, port, backend_port, folder, metrics_port):
    config = folder / "tidegate.yaml"
    config.write_text(
        TIDEGATE.format(
            folder=folder, host=HOST, port=port, backend=backend_port, metrics=metrics_port
        )
    )
    return Party("tidegate", [binary, "run", "-c", config], port, folder)


def version(command, pattern):
    """What a program says of its own version."""
    said = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=10
    )
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group(1) if found else "unknown"


def locked_version(lock: Path, package):
    """The version of a package in Cargo.lock."""
    found = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock.read_text())
    return found.group(1) if found else "unknown"
