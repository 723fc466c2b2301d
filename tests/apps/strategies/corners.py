"""What goes wrong on purpose: killed scripts, versions that never get healthy, wrong calls. And a control, that must fail.

Each corner is one promise about one script; the app is Go's, whose instances start and stop at once.
"""

import os
import signal
import time

import apps
import deploys
import kinds
from deploys import ids
from process import Wrong

GO = next(kind for kind in kinds.KINDS if kind.name == "go")
EXITS_AT_ONCE = next(kind for kind in kinds.KINDS if kind.name == "exit_at_once")
UNHEALTHY = kinds.Kind("go", kinds.go("-unhealthy"), GO.version, GO.ready)
KILL = "kill -KILL $PPID"  # as a hook: the script that runs it


def killed(tools, folder):
    """Scripts that are killed at their worst moments; a second run finishes what the first began. Under load."""
    with apps.Stage([GO], tools, folder, 2, rounds=1) as stage:
        (app,) = stage.apps
        apps.each(stage.apps, lambda app: [corner(app) for corner in KILLED])
        apps.each(stage.apps, apps.App.judge, 1)
        stage.front.end()
    return app.problems


def a_rollout_goes_on_without_its_script(app):
    """Killed while the proxy watches the new ones: the next run finds them serving, and stops the old ones."""
    old, new = app.runs, [app.new("k1-1"), app.new("k1-2")]
    call = ["rolling-all.sh", *app.hooks, "--at-once", 2, app.name, *new, "--", "--bake", "2s"]
    kill_at(app, "bake", *call)
    app.expect("those that run", app.runs, sorted(old + ids(new)))
    app.script(*call)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def a_new_one_that_was_started_is_used(app):
    """Killed after the start, before the proxy heard of it."""
    new = [app.new("k2-1"), app.new("k2-2")]
    start = app.supervisor.command("start", "{id}", "{port}")
    first = ["--start", f"{start}; {KILL}", *app.stop_hook]
    app.script("rolling-all.sh", *first, app.name, *new, code=-signal.SIGKILL)
    app.script("rolling-all.sh", *app.hooks, app.name, *new)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def what_is_drained_is_stopped_later(app):
    """Killed after the drain, before the stop; another script looks after it."""
    old, new = app.runs, [app.new("k3-1"), app.new("k3-2")]
    app.script("rolling-all.sh", *app.hooks[:2], "--stop", KILL, "--at-once", 2, app.name, *new, code=-signal.SIGKILL)
    app.expect("those that run", app.runs, sorted(old + ids(new)))
    app.script("blue-green.sh", "finish", *app.stop_hook, app.name)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def a_canary_stays_open_and_goes_on(app):
    new = [app.new("k4-1"), app.new("k4-2")]
    call = ["canary.sh", *app.hooks, "--steps", "10%,50%", "--every", "0.5", app.name, *new]
    old = app.runs
    kill_at(app, "canary", *call)
    app.serves(*ids(new), *old)
    words = app.script("rolling-all.sh", *app.hooks, app.name, app.new("other"), code=5)
    app.expect("what is in the way is said", f"error: a canary is open in {app.name}" in words, True)
    app.expect("those that run", app.runs, sorted(old + ids(new)))
    app.script(*call)
    app.serves(*ids(new))
    app.expect("those that run", app.runs, ids(new))


def an_interrupted_canary_is_taken_back(app):
    old, new = app.runs, [app.new("k5-1"), app.new("k5-2")]
    script = app.begin_script("canary.sh", *app.hooks, "--every", "60", app.name, *new)
    wait_for_phase(app, "canary")
    time.sleep(0.5)  # it waits for the end of the step
    script.send_signal(signal.SIGTERM)
    code, _ = app.end_script(script)
    app.expect("exit code", code, 143)
    app.serves(*old)
    app.expect("those that run", app.runs, old)


def green_that_serves_already_is_left_alone(app):
    """The same blue-green deploy twice: the second has nothing to do, and blue is still there to go back to."""
    blue, green = app.runs, [app.new("k6-1"), app.new("k6-2")]
    for _ in range(2):
        app.script("blue-green.sh", *app.hooks, app.name, *green)
    app.expect("those that run", app.runs, sorted(blue + ids(green)))
    # Killed when green is drained: the second rollback does not bring it back, but goes on.
    app.script("blue-green.sh", "rollback", "--stop", KILL, app.name, code=-signal.SIGKILL)
    app.script("blue-green.sh", "rollback", *app.stop_hook, app.name)
    app.serves(*blue)
    app.expect("those that run", app.runs, blue)


def a_failed_check_brings_blue_back(app):
    blue, green = app.runs, [app.new("k7-1"), app.new("k7-2")]
    app.script("blue-green.sh", *app.hooks, "--check", "exit 3", app.name, *green, code=5)
    app.serves(*blue)
    app.expect("those that run", app.runs, blue)


def a_version_that_does_not_get_healthy_changes_nothing(app):
    old = app.runs
    app.supervisor.kind = UNHEALTHY
    more = ["--", "--healthy-deadline", "1s"]
    new, other = app.new("k8-1"), app.new("k8-2")
    app.script("rolling-all.sh", *app.hooks, "--at-once", 2, app.name, new, other, *more, code=5)
    app.script("blue-green.sh", *app.hooks, app.name, new, other, *more, code=5)
    app.script("canary.sh", *app.hooks, app.name, new, other, *more, code=5)
    id, address = new.split("=")
    app.script("curl.sh", app.name, old[0], id, address, app.supervisor.command("start", id, address.split(":")[1]),
               app.supervisor.command("stop", "{id}"), code=5, TIDEGATE_SOCKET=app.front.admin.removeprefix("unix:"))
    app.serves(*old)
    app.expect("those that run", app.runs, old)
    app.supervisor.kind = GO


KILLED = [
    a_rollout_goes_on_without_its_script, a_new_one_that_was_started_is_used, what_is_drained_is_stopped_later,
    a_canary_stays_open_and_goes_on, an_interrupted_canary_is_taken_back, green_that_serves_already_is_left_alone,
    a_failed_check_brings_blue_back, a_version_that_does_not_get_healthy_changes_nothing,
]


def refused(tools, folder):
    """Calls that cannot be done: nothing changes, nothing is started or stopped, and the words say why."""
    with apps.Stage([GO], tools, folder, 2, load=False) as stage:
        (app,) = stage.apps
        before = app.runs
        apps.each(stage.apps, lambda app: [refusal(app) for refusal in REFUSALS])
        app.expect("those that run", app.runs, before)
        app.expect("those that were stopped", [one.id for one in app.supervisor.stopped], [])
        stage.front.end()
        apps.each(stage.apps, a_proxy_that_does_not_answer)
    return app.problems


def says(app, words, code, name, *arguments, **environment):
    found = app.script(name, *arguments, code=code, **environment)
    if words not in found:
        raise Wrong(f"{name} said:\n{found}expected:\n{words}")


def a_pool_that_is_not_there(app):
    for name in ["rolling-all.sh", "blue-green.sh", "canary.sh", "single-instance.sh"]:
        says(app, 'error: there is no pool "other"\n', 5, name, *app.hooks, "other", app.new("v"))
    says(app, 'error: there is no pool "other"\n', 5, "slots.sh", "other", app.new("a"), app.new("b"))
    says(app, 'there is no pool \\"other\\"', 5, "curl.sh", "other", "a", "b", "127.0.0.1:1", "false", "false",
         TIDEGATE_SOCKET=app.front.admin.removeprefix("unix:"))


def an_address_that_serves_already(app):
    """What runs there would be mistaken for the new one, and stopped when the rollout is refused."""
    address = app.first[0].split("=")[1]
    for name in ["rolling-all.sh", "blue-green.sh", "canary.sh"]:
        says(app, f"error: {address} is live as v0-1\n", 5, name, *app.hooks, app.name, f"v={address}")


def more_must_be_eligible_than_there_are(app):
    says(app, f"error: {app.name}: 2 would be eligible afterwards, fewer than the minimum of 3\n", 5,
         "rolling-all.sh", *app.hooks, "--min-eligible", 3, app.name, app.new("v-1"), app.new("v-2"))


def a_pool_with_two_has_no_single_instance(app):
    says(app, "expected v0-1=", 5, "single-instance.sh", *app.hooks, app.name, app.first[0])


def a_pool_that_others_serve_has_no_slots(app):
    says(app, f"error: {app.name} is served by v0-1,v0-2, expected one of a=", 5,
         "slots.sh", app.name, app.new("a"), app.new("b"))


def a_start_that_fails(app):
    """Of two the second: the first is stopped again."""
    new = [app.new("v-1"), app.new("v-2")]
    start = f"[ {{id}} = v-1 ] && {app.supervisor.command('start', '{id}', '{port}')}"
    says(app, f"error: {app.name}/v-2 could not be started\nhint: nothing was moved, who served before serves\n", 5,
         "rolling-all.sh", "--start", start, *app.stop_hook, "--at-once", 2, app.name, *new)
    app.serves(*ids(app.first))
    (stopped,) = app.supervisor.stopped
    app.expect("what was stopped", stopped.id, "v-1")
    app.supervisor.stopped.clear()


def tools_that_are_missing(app):
    path = deploys.only(app.folder / "bare", "bash", "env", "dirname", "awk")
    says(app, 'error: found no program "jq"\n', 1, "rolling-all.sh", *app.hooks, app.name, app.new("v"), PATH=path)
    says(app, 'error: found no program "/none/tidegate"\n', 1, "canary.sh", *app.hooks, app.name, app.new("v"),
         TIDEGATE="/none/tidegate")
    says(app, 'error: found no program "curl"\n', 1, "curl.sh", app.name, "a", "b", "127.0.0.1:1", "false", "false", PATH=path)


def wrong_calls(app):
    hooks, one, name = app.hooks, app.new("v"), app.name
    for script in ["rolling-all.sh", "blue-green.sh", "canary.sh", "single-instance.sh", "slots.sh"]:
        says(app, f"usage: {script} ", 0, script, "--help")
        says(app, 'error: unknown option "--no"\n', 2, script, "--no", "1", name)
        says(app, "error: no pool was named\n", 2, script)
        says(app, 'error: found "v=nowhere", expected ID=ADDRESS', 2, script, name, "v=nowhere")
        says(app, 'error: found "v=127.0.0.1:1;id", expected ID=ADDRESS', 2, script, name, "v=127.0.0.1:1;id")
        says(app, 'error: unexpected argument "more"\n', 2, script, name, "more")
        says(app, "error: --stop needs a value\n", 2, script, name, "--stop")
    for script in ["rolling-all.sh", "blue-green.sh", "canary.sh", "single-instance.sh"]:
        says(app, "error: --st", 2, script, name, one)
        says(app, "error: ", 2, script, *hooks, name)
    for value in ["0", "x", "1000", ""]:
        says(app, f'error: --at-once: found "{value}", expected 1 to 999\n', 2, "rolling-all.sh", *hooks, "--at-once", value, name, one)
    for key, value in [("--steps", "5"), ("--steps", "5%,"), ("--every", "soon")]:
        says(app, f'error: {key}: found "{value}", expected', 2, "canary.sh", *hooks, key, value, name, one)
    says(app, 'error: unexpected argument "v=127.0.0.1:1"\n', 2, "blue-green.sh", "finish", *app.stop_hook, name, "v=127.0.0.1:1")
    says(app, "error: found 1 slots, expected two\n", 2, "slots.sh", name, one)
    says(app, 'error: --unit: found "a b", expected the name of a unit\n', 2, "slots.sh", "--unit", "a b", name, one, app.new("w"))
    says(app, "usage: curl.sh ", 2, "curl.sh", name)
    says(app, 'error: found "a;b"', 2, "curl.sh", name, "a;b", "b", "127.0.0.1:1", "false", "false")


def a_proxy_that_does_not_answer(app):
    for name in ["rolling-all.sh", "blue-green.sh", "canary.sh", "single-instance.sh"]:
        says(app, "error: ", 4, name, *app.hooks, app.name, app.new("v"))
    says(app, "error: ", 4, "slots.sh", app.name, app.new("a"), app.new("b"))
    for verb in ["rollback", "finish"]:
        says(app, "error: ", 4, "blue-green.sh", verb, *app.stop_hook, app.name)
    says(app, "error: no answer at ", 4, "curl.sh", app.name, "v0-1", "v", "127.0.0.1:1", "false", "false",
         TIDEGATE_SOCKET=app.front.admin.removeprefix("unix:"))


REFUSALS = [
    a_pool_that_is_not_there, an_address_that_serves_already, more_must_be_eligible_than_there_are,
    a_pool_with_two_has_no_single_instance, a_pool_that_others_serve_has_no_slots, a_start_that_fails,
    tools_that_are_missing, wrong_calls,
]


def single_fails(tools, folder):
    """A single instance whose new version does not start: the pool is not left paused, and a second run repairs it."""
    with apps.Stage([GO], tools, folder, 1, load=False) as stage:
        def corner(app):
            words = app.script("single-instance.sh", "--start", "false", *app.stop_hook, app.name, *app.first, code=5)
            app.expect("why is said", f"error: {app.name}/v0-1 could not be started" in words, True)
            _, document = app.front.call("status", app.name)
            app.expect("the pause", document["pool"]["paused"], None)
            app.script("single-instance.sh", *app.hooks, app.name, *app.first)
            app.serves(*ids(app.first))
            # It does not stop: it was not drained for nothing, it is taken back.
            app.script("single-instance.sh", *app.hooks[:2], "--stop", "false", app.name, *app.first, code=1)
            stage.front.wait_for("it serves again", lambda: app.front.eligible(app.name) == 1)
            # Killed at the stop: after its ttl the pool resumes by itself, and a second run goes on.
            app.script("single-instance.sh", *app.hooks[:2], "--stop", KILL, "--ttl", "1s", app.name, *app.first,
                       code=-signal.SIGKILL)
            app.script("single-instance.sh", *app.hooks, app.name, *app.first)
            app.serves(*ids(app.first))

        apps.each(stage.apps, corner)
        stage.front.end()
        return stage.apps[0].problems


def control(tools, folder):
    """Without a script: an instance that is stopped while it serves loses requests, and both looks see what it held."""
    with apps.Stage([EXITS_AT_ONCE], tools, folder, 2) as stage:
        (app,) = stage.apps
        app.supervisor.stop("v0-1")
        time.sleep(0.5)
        result = app.load.end()
        (stopped,) = app.supervisor.stopped
    print(f"  {result['failed']} of {result['sent']} requests failed; held {stopped.record}, from outside {stopped.outside}")
    seen = result["failed"] and stopped.record["requests"] and stopped.outside
    return [] if seen else ["nothing was lost without a script: the strategies prove nothing"]


ALL = [("killed", killed), ("refused", refused), ("single-instance-fails", single_fails), ("control", control)]


def wait_for_phase(app, phase):
    def is_there():
        _, document = app.front.call("status", app.name)
        return (document["pool"]["rollout"] or {}).get("phase") == phase

    app.front.wait_for(f"a rollout of {app.name} is in {phase}", is_there)


def kill_at(app, phase, *call):
    """The script and all that it runs, when its rollout is in that phase."""
    script = app.begin_script(*call)
    try:
        wait_for_phase(app, phase)
    finally:
        os.killpg(script.pid, signal.SIGKILL)
        app.end_script(script)
