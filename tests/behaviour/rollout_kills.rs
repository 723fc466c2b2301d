//! What is killed in the middle of a rollout: the command line that waits for it, its connection, the
//! proxy, the new version. The pool ends in the old set or the new, and the history says which.

mod callers;
mod proxies;

use std::time::Duration;

use serde_json::Value;

use crate::support::app::Entered;
use crate::support::pair::enter;
use crate::support::{App, Proxy, Setup, Typed, within};

/// Probes that a test which is busy for a while does not fail.
const CALM: &str = "health: {http: /up, interval: 400ms, timeout: 400ms, rise: 1, fall: 2}";

/// Where a rollout is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// `c` is not healthy.
    Gate,
    /// Nobody promotes it.
    Canary,
    /// For [`Stage::bake`].
    Bake,
    /// `a` holds a request.
    Drain,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Gate, Self::Canary, Self::Bake, Self::Drain];

    fn word(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Canary => "canary",
            Self::Bake => "bake",
            // It is decided then.
            Self::Drain => "none",
        }
    }
}

/// Three apps: `a` and `b` serve, `c` is rolled out for them. The proxy keeps its state.
struct Stage {
    a: App,
    b: App,
    c: App,
    proxy: Proxy,
    min_healthy_time: &'static str,
    /// How long a rollout bakes that is held there.
    bake: &'static str,
    /// What is held in `a`, with who asked for it.
    held: Option<(
        Entered,
        tokio::task::JoinHandle<std::io::Result<crate::support::Message>>,
    )>,
}

impl Stage {
    async fn start() -> Self {
        let (a, b, c) = (
            App::start("a").await,
            App::start("b").await,
            App::start("c").await,
        );
        let mut setup = Setup::web_with(&[("a", &a), ("b", &b)], CALM);
        setup.state = true;
        let proxy = Proxy::start(setup).await;
        proxy.until_healthy(&["a", "b"]).await;
        Self {
            a,
            b,
            c,
            proxy,
            min_healthy_time: "0s",
            bake: "1500ms",
            held: None,
        }
    }

    /// Shuts the door that keeps a rollout in this phase.
    async fn shut(&mut self, phase: Phase) {
        match phase {
            Phase::Gate => self.c.set_health(503),
            Phase::Drain => {
                self.held = Some(enter(&self.proxy, &mut self.a, &mut self.b).await);
            }
            Phase::Canary | Phase::Bake => {}
        }
    }

    /// Opens it.
    async fn open(&mut self, phase: Phase) {
        match phase {
            Phase::Gate => self.c.set_health(200),
            Phase::Drain => self.release().await,
            Phase::Canary | Phase::Bake => {}
        }
    }

    /// What is held in `a` is answered, and its client has the answer.
    async fn release(&mut self) {
        let (inside, answer) = self.held.take().unwrap();
        inside.release("held").await;
        let answer = within("the held answer", answer).await.unwrap().unwrap();
        assert_eq!(answer.text(), "held");
    }

    fn bake(&self, phase: Phase) -> &'static str {
        match phase {
            Phase::Bake => self.bake,
            _ => "0s",
        }
    }

    /// What is typed to roll `c` out.
    fn words(&self, phase: Phase, more: &[&str]) -> Vec<String> {
        let add = format!("c={}", self.c.address);
        let words = [
            &["rollout", "web", "--add", &add, "--replace", "all"][..],
            &["--min-healthy-time", self.min_healthy_time],
            &["--bake", self.bake(phase)],
            match phase {
                Phase::Canary => &["--canary", "50%"][..],
                _ => &[],
            },
            more,
        ];
        words.concat().into_iter().map(str::to_owned).collect()
    }

    /// Types it, and waits until it is in its phase.
    async fn rollout(&mut self, phase: Phase, more: &[&str]) -> Typed {
        self.shut(phase).await;
        let typed = self.type_rollout(phase, more);
        self.until(phase).await;
        typed
    }

    fn type_rollout(&self, phase: Phase, more: &[&str]) -> Typed {
        let words = self.words(phase, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.proxy.cli_later(&words)
    }

    async fn until(&self, phase: Phase) {
        if phase == Phase::Drain {
            self.until_drained("b").await;
        }
        within(phase.word(), async {
            while self.pool().await["rollout"]["phase"]
                .as_str()
                .unwrap_or("none")
                != phase.word()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn until_drained(&self, id: &str) {
        let is_drained = |backend: &Value| backend["drained"] == true;
        self.proxy.until(id, "drained", is_drained).await;
    }

    async fn pool(&self) -> Value {
        self.proxy.admin("GET", "/v1/pools/web").await.json()["pool"].clone()
    }

    /// Who is active, in a row.
    async fn active(&self) -> String {
        active(&self.pool().await)
    }

    /// The only record of the history, once what was taken out has ended.
    async fn record(&self) -> Value {
        within("the record", async {
            loop {
                let history = self.proxy.admin("GET", "/v1/pools/web/history").await;
                let records = history.json()["records"].clone();
                assert_eq!(records.as_array().unwrap().len(), 1, "{records}");
                let taken_out = records[0]["taken_out"].as_str();
                if !matches!(taken_out, None | Some("draining")) {
                    return records[0].clone();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

fn active(pool: &Value) -> String {
    let backends = pool["backends"].as_array().unwrap().iter();
    let active = backends.filter(|one| one["intent"] == "active");
    let ids: Vec<&str> = active.map(|one| one["id"].as_str().unwrap()).collect();
    ids.join(",")
}
