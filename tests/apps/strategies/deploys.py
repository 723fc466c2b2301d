"""Each strategy once, by its script, as an operator calls it. The app has instances that serve; it has them afterwards."""

import itertools
import shutil

import process
from apps import DEPLOY


def rolling_all(app, round):
    """Three instances, two at a time, and never fewer than three."""
    new = [app.new(f"v{round}-{n}") for n in (1, 2, 3)]
    app.script("rolling-all.sh", *app.hooks, "--at-once", 2, "--min-eligible", 3, app.name, *new)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def blue_green(app, round):
    """Green, back to blue, green again, and blue is given up."""
    blue = app.runs
    check = f"curl -fsS -o /dev/null -H 'Host: {app.name}.test' http://{app.front.address}/up"
    for attempt, after in [("x", "rollback"), ("y", "finish")]:
        green = [app.new(f"v{round}-{n}{attempt}") for n in (1, 2)]
        app.script("blue-green.sh", *app.hooks, "--check", check, app.name, *green)
        app.serves(*ids(green))
        app.expect("those that run", app.runs, sorted(blue + ids(green)))
        app.script("blue-green.sh", after, *app.stop_hook, app.name)
        app.serves(*(blue if after == "rollback" else ids(green)))
        app.expect("those that run", app.runs, sorted(blue if after == "rollback" else ids(green)))


def canary(app, round):
    """Taken back when a check fails, then promoted."""
    old = app.runs
    new = [app.new(f"v{round}-{n}") for n in (1, 2)]
    options = [*app.hooks, "--steps", "20%,50%", "--every", "0.3", "--check"]
    words = app.script("canary.sh", *options, '[ "$SHARE" != 50% ]', app.name, *new, code=5)
    app.expect("what the check failed at is said", "error: the check failed at 50%" in words, True)
    app.serves(*old)
    app.expect("those that run", app.runs, old)
    app.script("canary.sh", *options, f'[ "$POOL" = {app.name} ]', app.name, *new)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def slots(app, _round):
    """The two fixed slots of a unit, swapped; systemctl is that of this test."""
    first = app.first[0]
    if not hasattr(app, "slots"):
        app.slots = {first.split("=")[0]: first, "b": app.new("b")}
        commands = {slot: app.supervisor.command("restart", slot, one.split(":")[1]) for slot, one in app.slots.items()}
        folder = app.folder / "bin"
        folder.mkdir()
        script(folder / "systemctl", 'case "$*" in\n' + "".join(
            f'  "restart {app.name}@{slot}") {commands[slot]} ;;\n  "enable -q {app.name}@{slot}") ;;\n'
            f'  "disable -q --now {app.name}@{slot}") {app.supervisor.command("stop", slot)} ;;\n'
            for slot in app.slots) + '  *) echo "unexpected: $*" >&2 && exit 1 ;;\nesac\n')
    (served,) = app.runs
    (idle,) = set(app.slots) - {served}
    path = f"{app.folder}/bin:{app.front.environment['PATH']}"
    app.script("slots.sh", app.name, *app.slots.values(), PATH=path)
    app.serves(idle)
    app.expect("those that run", app.runs, [idle])


def single_instance(app, _round):
    """On its own address: nothing serves for a moment, and nobody sees more than a pause."""
    (before,) = app.supervisor.running.values()
    words = app.script("single-instance.sh", *app.hooks, app.name, *app.first)
    app.expect("that it was paused is said", f"{app.name} is paused, no request is in flight" in words, True)
    app.serves(*ids(app.first))
    (after,) = app.supervisor.running.values()
    app.expect("the same process", before is after, False)


def curl(app, round):
    """No command of ours but curl."""
    (old,) = app.runs
    new = f"v{round}"
    address = app.new(new).split("=")[1]
    start = app.supervisor.command("start", "{id}", address.split(":")[1])
    path = only(app.folder / "only", "curl", "bash", "env", "awk", "date")
    app.script("curl.sh", app.name, old, new, address, start, app.supervisor.command("stop", "{id}"), PATH=path,
               TIDEGATE_SOCKET=app.front.admin.removeprefix("unix:"), KEY=f"deploy-{round}")
    app.serves(new)
    app.expect("those that run", app.runs, [new])


def kubernetes(app, round):
    """The hooks of the pods, over TCP with a token: one comes, one goes, as in a rolling update without surge of its own."""
    for number, old in enumerate(app.runs, start=1):
        new = app.new(f"v{round}-{number}")
        id, address = new.split("=")
        port = address.split(":")[1]
        app.supervisor.start(id, port)
        for name, pod in [("join", id), ("leave", old)]:
            app.script(hook(name, app), POD_NAME=pod, POD_IP=process.HOST, PORT=port, POOL=app.name,
                       TIDEGATE=f"http://{app.front.tcp}")
        app.supervisor.stop(old)
        code, _ = app.front.call("status", f"{app.name}/{old}")
        app.expect(f"exit code of status of {old}, which is forgotten", code, 5)
    app.serves(*app.runs)


# Name, the strategy, instances before.
ALL = [
    ("rolling-all", rolling_all, 3), ("blue-green", blue_green, 2), ("canary", canary, 2), ("slots", slots, 1),
    ("single-instance", single_instance, 1), ("curl", curl, 1), ("kubernetes", kubernetes, 2),
]


def ids(named):
    return sorted(one.split("=")[0] for one in named)


def hook(name, app):
    """A script of the ConfigMap, as a file."""
    lines = iter((DEPLOY / "kubernetes" / "app.yaml").read_text().splitlines())
    for line in lines:
        if line == f"  {name}: |":
            break
    text = "\n".join(line[4:] for line in itertools.takewhile(lambda line: line.startswith("    "), lines))
    path = app.folder / name
    script(path, text.replace("/var/run/tidegate/token", str(app.front.token_file)).removeprefix("#!/bin/sh\n") + "\n")
    return path


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def only(folder, *tools):
    """A PATH on which there is nothing but these."""
    if not folder.exists():
        folder.mkdir()
        for tool in tools:
            (folder / tool).symlink_to(shutil.which(tool))
    return str(folder)
