"""The points that are measured: which size of what, which request, and the configuration for it.

A series lets one number grow and leaves the rest at the base: two backends in one pool, one route,
no idle client, one worker, everything else as shipped (probes every 2 s). A line is one way in which a
series grows, such as a balance or a kind of route; the first point of a line is its base, to
which its others are compared. The last series, *workers*, is compared in requests per second too.

Beside what is measured each configuration has one more route, for the host 127.0.0.1, by which the
harness sees that the proxy is up.
"""

from dataclasses import dataclass, replace

BALANCES = ["least_requests", "round_robin"]
BACKEND_SIZES = [2, 8, 64, 256, 500]
POOL_SIZES = [1, 20, 200]
ROUTE_SIZES = [1, 100, 1000]
# Behind a host, a wildcard host and a path, so that the base has every kind too.
ANY_HOST_SIZES = [4, 100, 1000]
IDLE_SIZES = [0, 1000, 5000, 10_000]
WORKER_SIZES = [1, 2]
# Sizes that are counted under valgrind too; what lies between would cost time and say no more.
COUNTED_SIZES = {
    "backends": [2, 64, 500],
    "pools": [1, 200],
    "routes": [1, min(ANY_HOST_SIZES), 1000],
    "idle clients": [0, 5000],
    "workers": [],
}
PROBES_DEFAULT = "2s"
# One probe each at the start, and none in the time of a measurement; it must not fail for slowness.
PROBES_NEVER = "1h"
PROBE_TIMEOUTS = {PROBES_DEFAULT: "2s", PROBES_NEVER: "60s"}
# "whole": what a machine with everything on it has, for memory and the calls of the admin API.
WHOLE_BACKENDS, WHOLE_POOLS, WHOLE_ROUTES = 500, 200, 1000

SMALL_PATH = "/small"
UP_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Shape:
    """A configuration by its sizes. `route_kind` says what the routes are told apart by."""

    backends: int = 2
    balance: str = "least_requests"
    pools: int = 1
    routes: int = 1
    route_kind: str = "host"
    workers: int = 1
    probes: str = PROBES_DEFAULT
    # More than as shipped only under valgrind, which is too slow for it.
    upstream_idle: str = "1500ms"
    has_state: bool = False
    # The pools beyond the first have one backend each instead of as many as the first.
    is_uneven: bool = False

    def backends_total(self):
        rest = 1 if self.is_uneven else self.backends
        return self.backends + (self.pools - 1) * rest

    def probes_per_second(self):
        return 0.0 if self.probes == PROBES_NEVER else self.backends_total() / 2


@dataclass(frozen=True)
class Point:
    """One place on one line."""

    series: str
    line: str
    size: int
    shape: Shape
    host: str
    path: str = SMALL_PATH
    idle_clients: int = 0
    # Which of the routes or pools is asked for, where there is a choice.
    hit: str = ""

    def name(self):
        return f"{self.size:,}" + (f", {self.hit}" if self.hit else "")

    def key(self):
        return f"{self.series}/{self.line}/{self.name()}"


def backends_series():
    points = []
    for balance in BALANCES:
        shapes = [(Shape(backends=size, balance=balance), "") for size in BACKEND_SIZES]
        # Beside the last one without probes: what is left is what the size itself costs.
        shapes.append((replace(shapes[-1][0], probes=PROBES_NEVER), "no probes"))
        for shape, hit in shapes:
            point = Point("backends", balance, shape.backends, shape, host_of(0), hit=hit)
            points.append(point)
    return points


def pools_series():
    points = []
    for size in POOL_SIZES:
        for hit, number in places(size).items():
            shape = Shape(pools=size, routes=size)
            points.append(Point("pools", "pools", size, shape, host_of(number), hit=hit))
    last = points[-1]
    quiet = replace(last.shape, probes=PROBES_NEVER)
    return [*points, replace(last, shape=quiet, hit="last, no probes")]


def routes_series():
    points = []
    for kind in ["host", "wildcard", "path"]:
        for size in ROUTE_SIZES:
            shape = Shape(routes=size, route_kind=kind)
            for hit, number in places(size).items():
                host, path = asked(kind, number)
                points.append(Point("routes", kind, size, shape, host, path, hit=hit))
    # A host that no route names falls to the route for any host, past all the others.
    for size in ANY_HOST_SIZES:
        shape = Shape(routes=size, route_kind="any host")
        points.append(Point("routes", "any host", size, shape, "nobody.example.net"))
    return points


def idle_series(sizes=None):
    return [
        Point("idle clients", "idle clients", size, Shape(), host_of(0), idle_clients=size)
        for size in sizes or IDLE_SIZES
    ]


def workers_series():
    return [
        Point("workers", "workers", size, Shape(workers=size), host_of(0)) for size in WORKER_SIZES
    ]


SERIES = {
    "backends": backends_series,
    "pools": pools_series,
    "routes": routes_series,
    "idle clients": idle_series,
    "workers": workers_series,
}


def bases(points):
    """For each line its first point."""
    found = {}
    for point in points:
        found.setdefault((point.series, point.line), point)
    return found


def is_counted(point):
    """Whether valgrind counts it: of the places only the last, without probes only that."""
    return point.size in COUNTED_SIZES[point.series] and point.hit in ("", "last")


def places(size):
    """Which of the routes or pools are asked for: name and number."""
    if size == 1:
        return {"": 0}
    if size < 1000 and size != max(POOL_SIZES):
        return {"last": size - 1}
    return {"first": 0, "middle": size // 2, "last": size - 1}


def host_of(number):
    return f"app{number}.example.com"


def asked(kind, number):
    """Host and path of a request that route `number` of the kind takes."""
    if kind == "host":
        return host_of(number), SMALL_PATH
    if kind == "wildcard":
        return f"www.{host_of(number)}", SMALL_PATH
    if kind == "path":
        return "app.example.com", f"/app{number}{SMALL_PATH}"
    raise ValueError(f"unknown kind of route: {kind}")


def whole_shape():
    return Shape(
        backends=WHOLE_BACKENDS - WHOLE_POOLS + 1,
        pools=WHOLE_POOLS,
        routes=WHOLE_ROUTES,
        probes=PROBES_NEVER,
        has_state=True,
        is_uneven=True,
    )


def address_of(number):
    """Each backend has a loopback address of its own, so that connections are told apart."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


@dataclass(frozen=True)
class Places:
    """Where a proxy listens and what it may write; `backend_port` is the same on every address."""

    folder: str
    port: int
    metrics_port: int
    backend_port: int


def configuration(shape, where, first_weight=1):
    """The YAML for a shape. `first_weight` is the weight of the very first backend."""
    lines = [
        f"workers: {shape.workers}",
        f"admin: {{socket: {where.folder}/admin.sock}}",
        f'metrics: {{address: "127.0.0.1:{where.metrics_port}"}}',
    ]
    if shape.has_state:
        lines.append(f"state: {{file: {where.folder}/state.json}}")
    lines += ["listeners:", f'  - {{address: "127.0.0.1:{where.port}"}}', "pools:"]
    number = 0
    health = f"http: {SMALL_PATH}, interval: {shape.probes}, timeout: {PROBE_TIMEOUTS[shape.probes]}"
    for pool in range(shape.pools):
        count = 1 if shape.is_uneven and pool > 0 else shape.backends
        lines += [
            f"  pool{pool}:",
            f"    balance: {shape.balance}",
            f"    health: {{{health}}}",
            f"    timeouts: {{upstream_idle: {shape.upstream_idle}}}",
            "    backends:",
        ]
        for index in range(count):
            weight = f", weight: {first_weight}" if number == 0 else ""
            address = f"{address_of(number)}:{where.backend_port}"
            lines.append(f'      - {{id: b{index}, address: "{address}"{weight}}}')
            number += 1
    lines += ["routes:", f'  - {{host: "{UP_HOST}", pool: pool0}}']
    lines += [f"  - {{{route}}}" for route in routes(shape)]
    return "\n".join(lines) + "\n"


def routes(shape):
    """The routes, spread over the pools in turn."""
    found = []
    for number in range(shape.routes):
        pool = f"pool: pool{number % shape.pools}"
        if shape.route_kind == "any host":
            # The last one takes what the others leave.
            is_last = number == shape.routes - 1
            found.append(pool if is_last else f'{mixed(number)}, {pool}')
        elif shape.route_kind == "wildcard":
            found.append(f'host: "*.{host_of(number)}", {pool}')
        elif shape.route_kind == "path":
            found.append(f"host: app.example.com, path: /app{number}, {pool}")
        else:
            found.append(f"host: {host_of(number)}, {pool}")
    return found


def mixed(number):
    """Hosts, wildcard hosts and paths in turn."""
    return [
        f"host: {host_of(number)}",
        f'host: "*.{host_of(number)}"',
        f"path: /app{number}",
    ][number % 3]
