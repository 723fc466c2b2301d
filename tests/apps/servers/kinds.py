"""The servers: how each is started, what it can do, and what its exit may cost.

An instance is ready when its log has the line and its port listens: asking it would be a connection, and some of them
are stopped without ever having had one.
"""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import process

APPS = Path(__file__).resolve().parent.parent

# Per second. A server that polls, or that is written in Python, is not meant to be full: nothing here is about speed.
RATES = {"fast": 80, "slow": 10, "stream": 6, "post": 20, "upload": 6, "ws": 6}
SEEDS, SEED_STEP = 16, 125  # of the load generator's bodies (`-seeds`, and run.go), which nginx has as files


@dataclass
class Kind:
    name: str
    command: callable  # (tools, id, port, folder) -> command line, environment
    version: callable  # (tools) -> str
    ready: str = "ready"
    ready_lines: int = 1
    without: tuple = ()  # kinds of load that it cannot do
    exit_ms_max: int = 20  # by which an exit after a drain may take longer than that of an instance that had no connection
    exit_codes: tuple = (0,)
    records: int = 1  # processes of it that write down themselves what they hold at SIGTERM


@dataclass
class Tools:
    """Binaries, by name."""

    folder: Path
    app: str
    load: str
    tidegate: str
    node: str
    nginx: str
    python: str
    behind: process.Process = field(default=None)  # the app behind nginx

    def said(self, *command):
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return (done.stdout + done.stderr).strip()

    def package(self, name):
        code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
        return self.said(self.python, "-c", code, name)


def go(*options):
    def command(tools, id, port, folder):
        report = ["-report", folder / f"{id}.report"]
        return [tools.app, "-listen", f"{process.HOST}:{port}", "-version", id, *report, *options], {}

    return command


def node(tools, id, port, folder):
    return [tools.node, APPS / "node" / "app.js", port, id, folder / f"{id}.report"], {}


def python_environment(id, port, folder):
    return {
        "APP_PORT": str(port), "APP_VERSION": id, "APP_REPORT": str(folder / f"{id}.report"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def uvicorn(tools, id, port, folder):
    options = ["--app-dir", APPS / "python", "--host", process.HOST, "--port", port, "--no-access-log"]
    return [tools.python, "-m", "uvicorn", *options, "asgi:app"], python_environment(id, port, folder)


def gunicorn(tools, id, port, folder):
    options = ["--chdir", APPS / "python", "--bind", f"{process.HOST}:{port}", "--worker-class", "gthread"]
    options += ["--workers", 2, "--threads", 64, "--no-control-socket"]
    return [tools.python, "-m", "gunicorn", *options, "wsgi:app"], python_environment(id, port, folder)


def nginx(tools, id, port, folder):
    if tools.behind is None:
        start_behind_nginx(tools)
    names = {
        "USER": "user root;" if os.geteuid() == 0 else "", "FOLDER": folder, "ID": id, "PORT": port,
        "APP": tools.folder / "behind.sock", "PAGES": tools.folder / "pages",
    }
    text = (APPS / "nginx" / "nginx.conf").read_text()
    for name, value in names.items():
        text = text.replace(f"@{name}@", str(value))
    config = folder / f"{id}.conf"
    config.write_text(text)
    return [tools.nginx, "-p", folder, "-e", "stderr", "-c", config], {}


def start_behind_nginx(tools):
    """The app behind it, and the bodies that it has as files; the app makes them."""
    path = tools.folder / "behind.sock"
    command = [tools.app, "-listen", f"unix:{path}"]
    tools.behind = process.Process("the app behind nginx", command, tools.folder / "behind.log")
    tools.behind.wait_for("listens", path.exists)
    pages = tools.folder / "pages"
    pages.mkdir()
    for seed in range(0, SEEDS * SEED_STEP, SEED_STEP):
        for size in {1 + seed % 2000, 64, 200_000}:
            url = f"http://app/fast?n={size}&seed={seed}"
            tools.said("curl", "-fsS", "--unix-socket", path, "-o", pages / f"{size}-{seed}", url)


KINDS = [
    Kind("go", go(), lambda tools: tools.said("go", "env", "GOVERSION"), "listening"),
    Kind("exit_at_once", go("-exit-at-once"), lambda tools: tools.said("go", "env", "GOVERSION"), "listening"),
    Kind("node", node, lambda tools: tools.said(tools.node, "--version")),
    # uvicorn raises the signal again when it is done.
    Kind("uvicorn", uvicorn, lambda tools: tools.package("uvicorn"), "Uvicorn running on", exit_ms_max=100,
         exit_codes=(0, -15)),
    # WSGI has no WebSockets. Each of the two workers says that it is ready.
    Kind("gunicorn", gunicorn, lambda tools: tools.package("gunicorn"), ready_lines=2, without=("ws",), exit_ms_max=100,
         records=2),
    # SIGTERM is its fast stop: it finishes nothing. It has no way to tell what it holds but one more connection.
    Kind("nginx", nginx, lambda tools: tools.said(tools.nginx, "-v").split("/")[-1], "start worker process ",
         records=0),
]


class Instance(process.Process):
    """One instance of a server, from its start to its exit."""

    def __init__(self, kind, tools, id, folder, port=None):
        self.kind, self.id, self.folder = kind, id, folder
        self.port = port or process.free_port()
        command, environment = kind.command(tools, id, self.port, folder)
        super().__init__(f"{kind.name} {id}", command, folder / f"{id}.log", environment)

    @property
    def address(self):
        return f"{process.HOST}:{self.port}"

    def wait_until_ready(self):
        def said():
            return self.log.read_text(errors="replace").count(self.kind.ready) >= self.kind.ready_lines

        self.wait_for(f'says "{self.kind.ready}"', said)
        self.wait_for("listens", lambda: process.listens(self.port))

    def connections(self):
        return process.connections_on(self.port)

    def finish(self):
        super().finish()
        if self.code not in self.kind.exit_codes:
            raise process.Wrong(f"{self.name} ended with exit code {self.code}; its log ends:\n" + "\n".join(self.tail()))

    def record(self):
        """What it held at SIGTERM by its own account, all its processes together; None if it keeps none."""
        if not self.kind.records:
            return None
        reports = [path for path in self.folder.glob(f"{self.id}.report*") if path.suffix != ".new"]
        if len(reports) != self.kind.records:
            raise process.Wrong(f"{self.name} wrote {len(reports)} reports, expected {self.kind.records}")
        held = {"requests": 0, "tunnels": 0, "connections": 0}
        for path in reports:
            for name, count in json.loads(path.read_text())["held"].items():
                if name in held:
                    held[name] += count
        return held
