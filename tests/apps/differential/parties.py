"""The proxies, each with its configuration, and the backend behind each: it records what it gets and says what it is told."""

import os
import signal
import socket
import struct
import subprocess
import threading
import time

import strict

NAMES = ["nginx", "haproxy", "tidegate"]
HOST = "127.0.0.1"
START_SECONDS_MAX = 15

NGINX = """\
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream app {{ server {host}:{backend} max_fails=0; keepalive 8; }}
  server {{
    listen {host}:{port};
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_next_upstream off;
    }}
  }}
}}
"""

HAPROXY = """\
global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
frontend clients
  bind {host}:{port}
  default_backend app
backend app
  server a {host}:{backend}
"""

TIDEGATE = """\
workers: 1
admin: {{socket: {folder}/admin.sock}}
state: {{file: {folder}/state.json}}
listeners: [{{address: "{host}:{port}"}}]
pools:
  app:
    backends: [{{id: a, address: "{host}:{backend}"}}]
    health: {{tcp: true, interval: 60s}}
routes: [{{pool: app}}]
"""


class Backend:
    """Records the bytes of each connection. Answers a request by its target: /answer/N with what
    `answers` has for it, anything else with 200 and that target."""

    def __init__(self):
        self.listener = socket.create_server((HOST, 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.received = []  # a bytearray for each connection
        self.answers = {}
        threading.Thread(target=self.accept, daemon=True).start()

    def mark(self):
        """How much each connection has received so far."""
        with self.lock:
            return [len(data) for data in self.received]

    def since(self, mark):
        """The bytes of each connection that received something since."""
        with self.lock:
            mark = mark + [0] * (len(self.received) - len(mark))
            return [
                bytes(data[before:])
                for data, before in zip(self.received, mark)
                if len(data) > before
            ]

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.received.append(bytearray())
                number = len(self.received) - 1
            threading.Thread(target=self.serve, args=(client, number), daemon=True).start()

    def serve(self, client, number):
        pending = b""
        try:
            while piece := client.recv(65536):
                with self.lock:
                    self.received[number] += piece
                pending += piece
                while pending:
                    try:
                        message, pending = strict.read_request(pending)
                    except strict.Incomplete:
                        break
                    except strict.Malformed:
                        # A tolerant app would answer; what is wrong with it is found in the record.
                        client.sendall(plain(b"malformed", b"Connection: close\r\n"))
                        client.shutdown(socket.SHUT_WR)
                        pending = b""
                        break
                    if not self.answer(client, message):
                        return
        except OSError:
            pass
        finally:
            client.close()

    def answer(self, client, message):
        """Whether the connection is kept."""
        method, target = message.start
        told = self.answers.get(target)
        if not told:
            client.sendall(plain(b"" if method == b"HEAD" else target))
            return True
        client.sendall(told.raw)
        if told.then == "reset":
            time.sleep(0.03)  # what was sent arrives first
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return told.then == "keep"


def plain(body, fields=b""):
    return b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Proxy:
    def __init__(self, name, port, folder, config, command):
        self.name = name
        self.port = port
        self.backend = Backend()
        self.command = [str(word) for word in command]
        self.log = folder / f"{name}.log"
        self.config = config
        self.process = None

    def start(self):
        path, text = self.config
        path.write_text(text(self.port, self.backend.port))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if not self.is_running() or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-2000:]
                raise SystemExit(f"error: {self.name} does not answer; its log ends:\n{said}")
            time.sleep(0.1)

    def answers(self):
        try:
            with self.connect() as client:
                client.sendall(b"GET /up HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
                return client.recv(65536).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def connect(self):
        return socket.create_connection((HOST, self.port), timeout=5)

    def is_running(self):
        return self.process.poll() is None

    def end(self):
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def make(arguments, folder):
    held = [socket.create_server((HOST, 0)) for _ in NAMES]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()

    def config(name, template):
        user = "user root;\n" if os.geteuid() == 0 else ""

        def text(port, backend):
            return template.format(host=HOST, port=port, backend=backend, folder=folder, user=user)

        return folder / name, text

    nginx, haproxy, tidegate = ports
    return [
        Proxy("nginx", nginx, folder, config("nginx.conf", NGINX),
              [arguments.nginx, "-p", folder, "-e", folder / "nginx.error.log", "-c", folder / "nginx.conf"]),
        Proxy("haproxy", haproxy, folder, config("haproxy.cfg", HAPROXY),
              [arguments.haproxy, "-db", "-f", folder / "haproxy.cfg"]),
        Proxy("tidegate", tidegate, folder, config("tidegate.yaml", TIDEGATE),
              [arguments.tidegate, "run", "-c", folder / "tidegate.yaml"]),
    ]
