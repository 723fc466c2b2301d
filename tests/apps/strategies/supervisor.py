"""Starts, restarts and stops the instances of one app on request, as systemd would for the scripts.

    POST /start/ID/PORT     one that runs is left alone
    POST /restart/ID/PORT
    POST /stop/ID           SIGTERM, and it is gone; one that does not run is no failure

over a unix socket, so that curl is the command. What each instance held when it was asked to stop is kept in `stopped`.
"""

import socketserver
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))

import kinds  # noqa: E402
from process import Wrong  # noqa: E402


@dataclass
class Stopped:
    """What an instance held when SIGTERM came."""

    id: str  # as the scripts call it
    version: str  # as its answers say
    outside: int  # connections seen from outside
    record: dict  # its own


class Supervisor:
    def __init__(self, kind, tools, folder):
        self.kind, self.tools, self.folder = kind, tools, folder
        self.running, self.stopped = {}, []
        self.count = 0
        self.lock = threading.RLock()
        self.socket = folder / "supervisor.sock"
        self.server = Server(str(self.socket), Handler)
        self.server.supervisor = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def command(self, verb, *words):
        """The command line that does that."""
        path = "/".join([verb, *words])
        return f"curl -sS --fail-with-body --max-time 60 -X POST --unix-socket {self.socket} http://supervisor/{path}"

    def start(self, id, port):
        with self.lock:
            if id in self.running:
                return self.running[id]
            self.count += 1
            one = kinds.Instance(self.kind, self.tools, f"{id}.{self.count}", self.folder, int(port))
            self.running[id] = one
        one.wait_until_ready()
        return one

    def restart(self, id, port):
        self.stop(id)
        self.start(id, port)

    def stop(self, id):
        with self.lock:
            one = self.running.pop(id, None)
        if one is None:
            return
        outside = one.connections()
        one.stop()
        self.stopped.append(Stopped(id, one.id, outside, one.record() or {}))

    def end(self):
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            for one in self.running.values():
                one.kill()


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        verb, *words = self.path.strip("/").split("/")
        try:
            getattr(self.server.supervisor, {"start": "start", "restart": "restart", "stop": "stop"}[verb])(*words)
            status, body = 200, b""
        except (Wrong, KeyError, TypeError, ValueError) as error:
            status, body = 500, f"{error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def address_string(self):
        return "a script"

    def log_message(self, *_):
        pass
