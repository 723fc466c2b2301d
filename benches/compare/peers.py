"""The proxies that take part, each with one worker thread and its own best documented settings.

They keep connections to the backend, write no access log and, where they can, probe the backend once a
second. `configs/` has their configurations and says where the settings come from.
"""

import re
import subprocess
from pathlib import Path

from parties import HOST, Party, nginx_user, write_config

ALL = ["haproxy", "nginx", "bare", "tidegate", "envoy", "traefik", "caddy"]
# Those that valgrind counts: a process whose one worker is the whole of it.
COUNTED = ["haproxy", "bare", "tidegate"]
# Bounds the threads that run Go code, the collector's included, to one at a time.
ONE_THREAD = {"GOMAXPROCS": "1"}


class Stage:
    """Where a set of proxies is put up: before which backend, in which folder, for how many clients."""

    def __init__(self, tools, backend_port, folder, clients_max, is_root):
        self.tools = tools
        self.backend_port = backend_port
        self.folder = folder
        self.clients_max = clients_max
        self.is_root = is_root

    def proxy(self, name, port, spare_port):
        """The proxy of that name, not started. Only one of them listens on a second port."""
        return MAKERS[name](self, port, spare_port)

    def config(self, name, port, **values):
        return write_config(name, self.folder, port=port, backend=self.backend_port, **values)


def haproxy(stage, port, _):
    config = stage.config("haproxy.cfg", port, connections_max=stage.clients_max)
    return Party("haproxy", [stage.tools.haproxy, "-db", "-f", config], port, stage.folder)


def nginx(stage, port, _):
    config = stage.config(
        "nginx.conf", port, user=nginx_user(stage.is_root), descriptors_max=2 * stage.clients_max
    )
    command = [stage.tools.nginx, "-p", stage.folder, "-e", stage.folder / "nginx-error.log", "-c", config]
    return Party("nginx", command, port, stage.folder)


def bare(stage, port, _):
    command = [stage.tools.bare, f"{HOST}:{port}", f"{HOST}:{stage.backend_port}"]
    return Party("bare", command, port, stage.folder)


def tidegate(stage, port, metrics_port):
    config = stage.config("tidegate.yaml", port, metrics=metrics_port)
    return Party("tidegate", [stage.tools.tidegate, "run", "-c", config], port, stage.folder)


def envoy(stage, port, _):
    config = stage.config("envoy.yaml", port)
    # A hot restart shares memory between all Envoys of a machine that do not say otherwise.
    command = [stage.tools.envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return Party("envoy", command, port, stage.folder)


def traefik(stage, port, _):
    stage.config("traefik-routes.yaml", port)
    config = stage.config("traefik.yaml", port)
    command = [stage.tools.traefik, f"--configFile={config}"]
    return Party("traefik", command, port, stage.folder, ONE_THREAD)


def caddy(stage, port, _):
    config = stage.config("Caddyfile", port)
    command = [stage.tools.caddy, "run", "--adapter", "caddyfile", "--config", config]
    # It keeps a little state in its user's home.
    home = {"XDG_DATA_HOME": str(stage.folder), "XDG_CONFIG_HOME": str(stage.folder)}
    return Party("caddy", command, port, stage.folder, ONE_THREAD | home)


MAKERS = {
    maker.__name__: maker for maker in [haproxy, nginx, bare, tidegate, envoy, traefik, caddy]
}


def version(command, pattern):
    """What a program says of its own version."""
    try:
        said = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False, timeout=10
        )
    except OSError:
        return "unknown"
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group(1) if found else "unknown"


def locked_version(lock: Path, package):
    """The version of a package in Cargo.lock."""
    found = re.search(rf'name = "{package}"\nversion = "([^"]+)"', lock.read_text())
    return found.group(1) if found else "unknown"


def versions(tools, lock: Path, names):
    """What each of these proxies calls itself."""
    say = {
        "haproxy": lambda: "HAProxy " + version([tools.haproxy, "-v"], r"version ([\d.]+)"),
        "nginx": lambda: "nginx " + version([tools.nginx, "-v"], r"nginx/(\S+)"),
        "bare": lambda: "bare pingora-proxy " + locked_version(lock, "pingora-proxy"),
        "tidegate": lambda: "tidegate " + locked_version(lock, "tidegate"),
        "envoy": lambda: "Envoy " + version([tools.envoy, "--version"], r"/(\d+\.\d+\.\d+)/"),
        "traefik": lambda: "Traefik " + version([tools.traefik, "version"], r"Version:\s+(\S+)"),
        "caddy": lambda: "Caddy " + version([tools.caddy, "version"], r"v(\S+)"),
    }
    return {name: say[name]() for name in names}
