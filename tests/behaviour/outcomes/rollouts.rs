//! A rollout of `c` for `a` and `b`.

use super::{Case, Three, Way, case, provoke};
use crate::support::pair::enter;
use crate::support::{App, Proxy, get};

pub const CASES: &[Case] = &[
    case!("rollout", Clean, clean),
    case!("rollout", Done, kept_on_standby),
    case!("rollout", Done, already_serving),
    case!("rollout", Done, dry_run),
    case!("rollout", Done, open_canary),
    case!("rollout", Begun, begun),
    case!("rollout", Forced, forced),
    case!("rollout", NotYet, not_yet),
    case!("rollout", Restored, restored),
    case!("rollout", Refused, refused_while_another_is_under_way),
    case!("rollout", Refused, refused_since_it_would_leave_too_few),
    case!("rollout", Refused, refused_for_another_rollouts_key),
    case!("rollout", Failed, failed_in_the_gate),
    case!("rollout", Failed, reverted_in_the_bake),
    case!("rollout", Failed, reverted_for_its_errors),
    case!("rollout", Unknown, unknown_pool),
    case!("rollout", Unknown, unknown_backend),
];

#[tokio::test]
async fn a_rollout_ends_as_listed() {
    provoke(CASES).await;
}

/// As short as it can be.
pub const AT_ONCE: [&str; 4] = ["--min-healthy-time", "0s", "--bake", "0s"];
/// Until a test ends it.
pub const LONG_BAKE: [&str; 4] = ["--min-healthy-time", "0s", "--bake", "1h"];

impl Three {
    /// What is typed to roll `c` out for all.
    pub fn rollout(&self, more: &[&[&str]]) -> Vec<String> {
        let add = format!("c={}", self.c.address);
        let args = ["rollout", "web", "--add", &add, "--replace", "all"];
        let args = args.iter().chain(more.iter().copied().flatten());
        args.map(|&word| word.to_owned()).collect()
    }

    /// A canary of `c`, open with no traffic.
    pub async fn open_canary(&self) {
        let args = self.rollout(&[&AT_ONCE, &["--canary", "0%"]]);
        let (exit, out, err) = crate::support::said(&self.proxy.cli(&words(&args)).await);
        assert_eq!(exit, 0, "{out}{err}");
    }

    /// A request that is held in `c`, which is the only one that serves.
    pub async fn enter_c(&mut self) -> Held {
        let answer = self.proxy.fetch(get("/door"));
        let inside = self.c.entered().await;
        (inside, answer)
    }

    pub async fn until_phase(&self, phase: &str) {
        until_phase(&self.proxy, phase).await;
    }
}

/// What keeps a request in its app.
pub type Held = (
    crate::support::app::Entered,
    tokio::task::JoinHandle<std::io::Result<crate::support::Message>>,
);

pub fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// Waits until the rollout of `web` is in this phase; `none` when none is under way.
pub async fn until_phase(proxy: &Proxy, phase: &str) {
    crate::support::within(&format!("the phase {phase}"), async {
        loop {
            let pool = proxy.admin("GET", "/v1/pools/web").await.json();
            let now = &pool["pool"]["rollout"]["phase"];
            if now.as_str().unwrap_or("none") == phase {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

impl Way {
    async fn rolls_out(self, three: &Three, more: &[&[&str]], out: &str, err: &str) {
        let args = three.rollout(more);
        self.ends(&three.proxy, &words(&args), out, err).await;
    }
}

const SERVING_C: &str = "serving: c (127.0.0.1:PORT)\n";
const SERVING_A_B: &str = "serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n";
const SAFE_A_B: &str = "safe to kill: a (127.0.0.1:PORT), b (127.0.0.1:PORT)\n";
const SAFE_C: &str = "safe to kill: c (127.0.0.1:PORT)\n";
const TOOK_ALL: &str = "took: gate T, bake T, drain T\n";

async fn clean(way: Way) {
    let three = Three::start().await;
    let out = format!(
        "web: c in service; a, b drained: clean; safe to kill\n{SERVING_C}{SAFE_A_B}{TOOK_ALL}"
    );
    way.rolls_out(&three, &[&AT_ONCE], &out, "").await;
}

async fn kept_on_standby(way: Way) {
    let three = Three::start().await;
    let out = format!("web: c in service; a, b on standby\n{SERVING_C}took: gate T, bake T\n");
    let err = "hint: `tidegate rollback web` brings a, b back at once\n";
    way.rolls_out(&three, &[&AT_ONCE, &["--keep-standby"]], &out, err)
        .await;
}

async fn already_serving(way: Way) {
    let three = Three::start().await;
    let args = three.rollout(&[&AT_ONCE]);
    three.proxy.cli(&words(&args)).await;
    let out = format!("web: already serving: c\n{SERVING_C}{SAFE_A_B}{TOOK_ALL}");
    way.ends(&three.proxy, &words(&args), &out, "").await;
}

async fn dry_run(way: Way) {
    let three = Three::start().await;
    let out =
        "web: would bring in c (127.0.0.1:PORT) for a, b, which would drain; nothing was changed\n";
    way.rolls_out(&three, &[&["--dry-run"]], out, "").await;
}

async fn open_canary(way: Way) {
    let three = Three::start().await;
    let out = "web: the canary of rollout 1 is open: 10% of new requests to c\n\
        serving: a (127.0.0.1:PORT), b (127.0.0.1:PORT), c (127.0.0.1:PORT)\n\
        took: gate T\n";
    let err = "hint: `tidegate canary web N%` changes the share, `promote web` goes on, `rollback web` takes it back\n";
    way.rolls_out(&three, &[&AT_ONCE, &["--canary", "10%"]], out, err)
        .await;
}

async fn begun(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let out = format!("web: rollout 1 has begun\n{SERVING_A_B}");
    let err = "hint: `tidegate status web` shows how it goes\n";
    way.rolls_out(&three, &[&["--no-wait"]], &out, err).await;
}

async fn forced(way: Way) {
    let mut three = Three::start().await;
    let _held = enter(&three.proxy, &mut three.a, &mut three.b).await;
    let out = format!(
        "web: c in service; a, b drained: forced, 1 request and 0 tunnels cut; safe to kill\n{SERVING_C}{SAFE_A_B}{TOOK_ALL}"
    );
    let clocks = ["--timeout", "1ms", "--on-timeout", "close"];
    way.rolls_out(&three, &[&AT_ONCE, &clocks], &out, "").await;
}

async fn not_yet(way: Way) {
    let mut three = Three::start().await;
    let _held = enter(&three.proxy, &mut three.a, &mut three.b).await;
    let err = format!(
        "error: web: c in service; not drained yet: a (1 request in flight)\n{SERVING_C}\
         safe to kill: b (127.0.0.1:PORT)\ntook: gate T, bake T\n\
         hint: the drain goes on; `tidegate wait web/a --for drained` waits for it\n"
    );
    way.rolls_out(&three, &[&AT_ONCE, &["--wait", "500ms"]], "", &err)
        .await;
}

async fn restored(way: Way) {
    let mut three = Three::start().await;
    let _held = enter(&three.proxy, &mut three.a, &mut three.b).await;
    let args = three.rollout(&[&AT_ONCE]);
    let rollout = way.types_later(&three.proxy, &words(&args));
    let is_drained = |b: &serde_json::Value| b["drained"] == true;
    three.proxy.until("b", "drained", is_drained).await;
    three.proxy.cli(&["ready", "web/a"]).await;
    let err = "error: web: moved to c; a brought back, b drained\n\
        serving: a (127.0.0.1:PORT), c (127.0.0.1:PORT)\n\
        safe to kill: b (127.0.0.1:PORT)\ntook: gate T, bake T, drain T\n\
        hint: do not kill a: it is in use again\n";
    way.says(&rollout.ended().await, "", err);
}

async fn refused_while_another_is_under_way(way: Way) {
    let three = Three::start().await;
    three.open_canary().await;
    let err = "error: rollout 1 of web is under way: canary, by uid:N, begun T ago\n\
        hint: --lock-wait waits for it, `tidegate abort web` takes it back, `tidegate status web` shows it\n";
    way.rolls_out(&three, &[], "", err).await;
}

async fn refused_since_it_would_leave_too_few(way: Way) {
    let three = Three::start().await;
    let err = "error: web: 1 would be eligible afterwards, fewer than the minimum of 2\n\
        hint: bring in more, or replace fewer at a time\n";
    way.rolls_out(&three, &[&["--min-eligible", "2"]], "", err)
        .await;
}

async fn refused_for_another_rollouts_key(way: Way) {
    let three = Three::start().await;
    let key = ["--key", "deploy-7"];
    let first = three.rollout(&[&AT_ONCE, &key]);
    three.proxy.cli(&words(&first)).await;
    let add = format!("d={}", three.a.address);
    let other = [
        &["rollout", "web", "--add", &add, "--replace", "c"],
        &key[..],
    ];
    let err = "error: the key \"deploy-7\" is that of rollout 1 of web, which brought in c\n\
        hint: a key stands for one rollout; take a new one\n";
    way.ends(&three.proxy, &other.concat(), "", err).await;
}

async fn failed_in_the_gate(way: Way) {
    let three = Three::start().await;
    three.c.set_health(503);
    let err = format!(
        "error: rollout 1 of web failed: not healthy within T: c (last probe: status 503 (expected 200-299))\n\
         {SERVING_A_B}{SAFE_C}took: gate T, drain T\n\
         hint: nothing of it is left; who served before serves: a, b\n"
    );
    way.rolls_out(&three, &[&["--healthy-deadline", "1s"]], "", &err)
        .await;
}

async fn reverted_in_the_bake(way: Way) {
    let three = Three::start().await;
    let args = three.rollout(&[&LONG_BAKE]);
    let rollout = way.types_later(&three.proxy, &words(&args));
    three.until_phase("bake").await;
    three.c.set_health(503);
    let err = format!(
        "error: rollout 1 of web reverted: failed its probes: c (last probe: status 503 (expected 200-299))\n\
         {SERVING_A_B}{SAFE_C}{TOOK_ALL}\
         hint: nothing of it is left; who served before serves: a, b\n"
    );
    way.says(&rollout.ended().await, "", &err);
}

async fn reverted_for_its_errors(way: Way) {
    let three = Three::start().await;
    three.c.fail_one_of(1);
    let args = three.rollout(&[&LONG_BAKE, &["--min-requests", "3"]]);
    let rollout = way.types_later(&three.proxy, &words(&args));
    three.until_phase("bake").await;
    for _ in 0..3 {
        three.proxy.fetch(get("/quick")).await.unwrap().unwrap();
    }
    let err = format!(
        "error: rollout 1 of web reverted: too many errors: c 3 of 3 (100.0%), a+b 0 of 0 (0.0%)\n\
         {SERVING_A_B}{SAFE_C}errors: c 3 of 3 (100.0%), a+b 0 of 0 (0.0%)\n{TOOK_ALL}\
         hint: nothing of it is left; who served before serves: a, b\n"
    );
    way.says(&rollout.ended().await, "", &err);
}

async fn unknown_pool(way: Way) {
    let (app, three) = (App::start("x").await, Three::start().await);
    let add = format!("x={}", app.address);
    let args = ["rollout", "none", "--add", &add, "--replace", "all"];
    let err = "error: there is no pool \"none\"\nhint: `tidegate status` lists the pools\n";
    way.ends(&three.proxy, &args, "", err).await;
}

async fn unknown_backend(way: Way) {
    let three = Three::start().await;
    let add = format!("c={}", three.c.address);
    let args = ["rollout", "web", "--add", &add, "--replace", "x"];
    let err = "error: pool \"web\" has no backend \"x\"\nhint: `tidegate status web` lists its backends\n";
    way.ends(&three.proxy, &args, "", err).await;
}
