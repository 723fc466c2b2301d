//! The command line against a scripted admin API: what is sent, what is said, the exit code.

mod answers;
mod events;
mod progress;
mod rollouts;
mod typed;
mod waiting;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::runtime::Runtime;

use super::*;
use crate::report::{
    BackendStatus, DrainStatus, ExchangeStatus, PauseStatus, ProbeStatus, Serving,
};

/// Where there is no admin API.
const NOWHERE: &str = "unix:/nonexistent/admin.sock";

/// Hears the method and target; says the answer, whatever its status would be.
type Script = dyn Fn(&str) -> Value + Send + Sync;

/// An admin API that answers what it is told to, always with status 418: the command line must not
/// look at it.
struct Scripted {
    admin: String,
    /// Method, target, then the body or token if there was one.
    heard: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
    _folder: tempfile::TempDir,
}

impl Scripted {
    fn new(script: impl Fn(&str) -> Value + Send + Sync + 'static) -> Self {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let script: Arc<Script> = Arc::new(script);
        let hears = Arc::clone(&heard);
        let handler = move |method: Method, uri: Uri, fields: HeaderMap, body: Bytes| async move {
            let question = format!("{method} {uri}");
            let token = fields.get("authorization");
            let token = token.map(|token| format!(" [{}]", token.to_str().unwrap()));
            let body = String::from_utf8(body.to_vec()).unwrap();
            let line = format!("{question} {body}{}", token.unwrap_or_default());
            hears.lock().unwrap().push(line.trim_end().to_owned());
            let answer = tokio::task::spawn_blocking(move || script(&question)).await;
            (StatusCode::IM_A_TEAPOT, answer.unwrap().to_string()).into_response()
        };
        Self::serving(Router::new().fallback(handler), heard)
    }

    /// One that answers with a stream of this text and closes it.
    fn streaming(text: &str) -> Self {
        let text = text.to_owned();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let hears = Arc::clone(&heard);
        let handler = async move |method: Method, uri: Uri| {
            hears.lock().unwrap().push(format!("{method} {uri}"));
            ([("content-type", "text/event-stream")], text.clone()).into_response()
        };
        Self::serving(Router::new().fallback(handler), heard)
    }

    fn serving(router: Router, heard: Arc<Mutex<Vec<String>>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("admin.sock");
        let runtime = Runtime::new().unwrap();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::bind(&path).unwrap()
        };
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            admin: format!("unix:{}", path.display()),
            heard,
            _runtime: runtime,
            _folder: folder,
        }
    }

    fn saying(answer: &Answer) -> Self {
        let document = serde_json::to_value(answer).unwrap();
        Self::new(move |_| document.clone())
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn ask(&self, typed: &[&str]) -> Said {
        let mut all = vec!["--admin", &self.admin];
        all.extend(typed);
        tidegate(&all)
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Said {
    exit: u8,
    out: String,
    err: String,
}

fn tidegate(typed: &[&str]) -> Said {
    tidegate_on(typed, false)
}

/// Without progress: an answer of these tests comes sooner, however busy the machine.
fn tidegate_on(typed: &[&str], is_terminal: bool) -> Said {
    tidegate_looking(typed, is_terminal, Duration::from_secs(3600))
}

fn tidegate_looking(typed: &[&str], is_terminal: bool, progress_every: Duration) -> Said {
    let mut out = Vec::new();
    let (exit, err) = tidegate_to(&mut out, typed, is_terminal, progress_every);
    Said {
        exit,
        out: String::from_utf8(out).unwrap(),
        err,
    }
}

/// The same into any stdout; gives the exit code and stderr.
fn tidegate_to(
    out: &mut dyn Write,
    typed: &[&str],
    is_terminal: bool,
    progress_every: Duration,
) -> (u8, String) {
    let daemon = Daemon {
        run: |file, json| u8::try_from(file.as_os_str().len()).unwrap() + 50 * u8::from(json),
        check: |_, json| 100 + u8::from(json),
    };
    let mut err = Vec::new();
    let mut console = Console {
        out,
        err: &mut err,
        err_is_terminal: is_terminal,
        colours_out: is_terminal,
        colours_err: is_terminal,
        screen: is_terminal.then_some((|| SCREEN_UNKNOWN) as fn() -> Screen),
        progress_every,
    };
    let typed = std::iter::once("tidegate").chain(typed.iter().copied());
    let exit = run(typed.map(OsString::from), &daemon, &mut console);
    (exit, String::from_utf8(err).unwrap())
}

fn backend(id: &str) -> BackendStatus {
    BackendStatus {
        pool: "web".to_owned(),
        id: id.to_owned(),
        generation: 3,
        address: "127.0.0.1:8081".to_owned(),
        origin: "file".to_owned(),
        weight: 1,
        intent: "draining".to_owned(),
        health: "healthy".to_owned(),
        eligible: false,
        drained: false,
        requests: 2,
        tunnels: 1,
        connections: None,
        since_ms: 1_000_000,
        last_probe: Some(ProbeStatus {
            good: true,
            detail: "200".to_owned(),
            at_ms: 1_058_000,
            took_ms: 1.25,
        }),
    }
}

fn exchange(kind: &str) -> ExchangeStatus {
    ExchangeStatus {
        kind: kind.to_owned(),
        method: "GET".to_owned(),
        path: "/events".to_owned(),
        client: Some("10.0.0.9".to_owned()),
        age_ms: 182_000,
        bytes_up: 12,
        bytes_down: 1_572_864,
        idle_ms: 4000,
    }
}

fn drain() -> DrainStatus {
    DrainStatus {
        begun_ms: 1_000_000,
        took_ms: 30_000.0,
        cut_requests: 0,
        cut_tunnels: 0,
        cut: Vec::new(),
        blocked_by: vec![exchange("request"), exchange("tunnel")],
    }
}
