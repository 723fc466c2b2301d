//! Joins all parts into the running proxy, and takes it down again.
//!
//! Steps of the start, each of which ends with a clear error rather than half a proxy: read the
//! configuration, bind every socket, take the state file, bring up the pools, begin to probe,
//! serve the admin API and metrics, and last accept clients. A request that comes before the first
//! probe has ended is held like any other that finds no eligible backend.
//!
//! Threads: clients are served by workers, each a thread with a runtime, a reactor and listening sockets of
//! its own (pingora's no-steal runtime), so that a connection stays in one thread, as do, of up to 16 workers, those to
//! backends that it uses. Connections that wait at the sockets of a worker when the listeners close are reset, as far
//! as it has not come to accept them. Everything else (admin, probes, drains, metrics) has a small runtime of its own, so that a flood of
//! requests does not keep the operator from the admin API.
//!
//! pingora's `Server` is not used, only its services, listeners and runtime: on SIGTERM it sleeps
//! its whole grace period, and a taken port ends in a panic. Here SIGTERM closes the listeners,
//! and the process ends as soon as the last exchange has (`shutdown.timeout` at the latest); a
//! second SIGTERM or a SIGINT ends it at once; SIGHUP reloads.

mod limits;
mod logging;
mod parts;
mod sockets;
mod workers;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{self, Admin, Process, TcpDoor, Tokens};
use crate::config::{self, Config};
use crate::control::{Actor, Control, Forgetful, Store};
use crate::events::Events;
use crate::health::Checker;
use crate::metrics::{Build, Metrics};
use crate::outcome::Outcome;
use crate::pool::Pools;
use crate::proxy::{self, Front};
use crate::report::ListenerStatus;
use crate::shutdown::Running;
use crate::state::StateFile;

use parts::{ConfigSource, Resolver};
use sockets::{Bound, Sockets};
use workers::{Closed, accept_clients, workers};

/// How long answers that are being given may take once the last exchange has ended.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How long a connection that was accepted may take to be counted: milliseconds on a busy machine.
const ACCEPTED_SETTLE: Duration = Duration::from_millis(100);

/// Threads of the runtime for everything but clients.
const CONTROL_THREADS: usize = 2;

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has problems.
    #[error("{0}")]
    Config(config::Problems),
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

/// Runs the proxy until it is told to stop.
pub fn run(path: &Path) -> Result<(), StartError> {
    let mut config = config::load(path).map_err(StartError::Config)?;
    logging::init(&config.log).map_err(StartError::Other)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // What the file says is what a reload is compared with, not what the machine makes of it.
    let said = config.clone();
    let workers = workers(&config);
    limits::keep_a_reserve(&mut config.client, workers, config.listeners.len());
    let admin_tcp = config.admin.tcp.as_ref().map(|tcp| tcp.address);
    let sockets = Sockets::bind(&config.listeners, workers, admin_tcp, config.metrics)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| format!("no threads: {error}"))?;
    let ended = runtime.block_on(serve((path, said), config, sockets));
    // Whatever still runs there is of no interest to any client.
    runtime.shutdown_background();
    ended
}

/// What the parts share.
struct Shared {
    pools: Arc<Pools>,
    events: Arc<Events>,
    metrics: Arc<Metrics>,
    running: Arc<Running>,
    connections: Arc<Running>,
}

impl Shared {
    fn new() -> Self {
        let pools = Arc::new(Pools::new());
        let events = Arc::new(Events::new());
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: None,
        };
        let metrics = Metrics::new(Arc::clone(&pools), build, &proxy::ErrorWord::WORDS);
        metrics.watch(&events);
        let connections = Arc::new(Running::default());
        let counted = Arc::clone(&connections);
        metrics.client_connections_from(move || counted.count() as u64);
        Self {
            pools,
            events,
            metrics,
            running: Arc::new(Running::default()),
            connections,
        }
    }
}

async fn serve(
    (path, said): (&Path, Config),
    config: Config,
    sockets: Sockets,
) -> Result<(), StartError> {
    let mut signals = Signals::install().map_err(|error| format!("signals: {error}"))?;
    let shared = Shared::new();
    let tokens = load_tokens(&config)?;
    let (store, stored) = open_state(&config).await?;
    let (admin_listener, admin_socket) =
        admin::bind_unix(&config.admin.socket, config.admin.group.as_deref())
            .map_err(|error| format!("admin.socket: {error}"))?;

    let control = Control::new(crate::control::Parts {
        pools: Arc::clone(&shared.pools),
        events: Arc::clone(&shared.events),
        store,
        source: Box::new(ConfigSource::new(path.to_path_buf(), said, tokens.clone())),
        resolver: Box::new(Resolver),
    });
    // Names may take seconds to resolve; who wants to end the process meanwhile need not wait.
    let started = tokio::select! {
        started = control.start(stored, &config.topology) => started?,
        () = signals.end_now() => return Ok(()),
    };
    for warning in started {
        tracing::warn!("{warning}");
    }
    let probing = tokio::spawn(keep_probing(
        Arc::clone(&shared.pools),
        Arc::clone(&shared.metrics),
        checker(&shared),
    ));

    let (stop, stopping) = watch::channel(false);
    let process = about(&sockets);
    for listener in &process.listeners {
        tracing::info!(address = listener.address, "listening for clients");
    }
    if let Some(listener) = &process.admin {
        tracing::info!(address = listener.address, "listening for the admin API");
    }
    if let Some(listener) = &process.metrics {
        tracing::info!(address = listener.address, "listening for metrics");
    }
    let doors = Doors {
        unix: admin_listener,
        tcp: sockets.admin,
        tokens,
        metrics: sockets.metrics,
    };
    let ended = watch::Sender::new(false);
    let mut serving = serve_operators(doors, process, &control, &shared, (&stopping, &ended))?;
    let mut closed = accept_clients(front(&config, &shared), sockets.clients, &stopping);

    loop {
        let asked = tokio::select! {
            asked = signals.next() => asked,
            // It would go on getting its share of the clients, and answer none.
            Some(_) = closed.join_next() => {
                return Err(StartError::Other("a worker no longer accepts clients".to_owned()));
            }
        };
        match asked {
            // In a task of its own: the signals that end the process must not wait for it.
            Asked::Reload => drop(tokio::spawn(reload(Arc::clone(&control)))),
            Asked::EndNow => return Ok(()),
            Asked::Stop => break,
        }
    }
    tracing::info!(
        in_flight = shared.running.count(),
        "stopping: listeners close"
    );
    stop.send_replace(true);
    finish(&config, &shared, closed, &mut signals).await;
    // Whoever waits for a drain that has just ended still gets its answer.
    ended.send_replace(true);
    let _ = tokio::time::timeout(LAST_ANSWERS, async {
        while serving.join_next().await.is_some() {}
    })
    .await;
    probing.abort();
    drop(admin_socket);
    Ok(())
}

async fn reload(control: Arc<Control>) {
    let answer = control.reload(Actor("signal".into())).await;
    match answer.outcome {
        Outcome::Done => tracing::info!("{}", answer.message),
        _ => tracing::error!("not reloaded: {}", answer.message),
    }
}

/// Waits for the last exchange, the deadline or a second signal, whichever comes first.
async fn finish(config: &Config, shared: &Shared, mut closed: Closed, signals: &mut Signals) {
    let running = &shared.running;
    let last = async {
        while closed.join_next().await.is_some() {}
        // A connection that was accepted just before is counted when its worker first looks at it.
        tokio::time::sleep(ACCEPTED_SETTLE).await;
        // The connections and not the exchanges: a request that was read but is no exchange yet
        // counts too. One that waits for its next request is closed by the front.
        shared.connections.idle().await;
    };
    tokio::select! {
        ended = tokio::time::timeout(config.shutdown_timeout, last) => match ended {
            Ok(()) => tracing::info!("stopped: nothing was in flight any more"),
            Err(_) => tracing::warn!(
                in_flight = running.count(),
                "stopped at shutdown.timeout: what was in flight was cut"
            ),
        },
        () = signals.end_now() => tracing::warn!(
            in_flight = running.count(),
            "stopped at once, asked a second time: what was in flight was cut"
        ),
    }
}

fn checker(shared: &Shared) -> Checker {
    let pools = Arc::clone(&shared.pools);
    let refresh = move |backend: &Arc<crate::backend::Backend>| {
        pools.refresh(&backend.identity().pool);
    };
    let events = Arc::clone(&shared.events);
    Checker::new(tokio::runtime::Handle::current(), events, refresh)
}

fn front(config: &Config, shared: &Shared) -> Front {
    let parts = proxy::Parts {
        pools: Arc::clone(&shared.pools),
        metrics: Arc::clone(&shared.metrics),
        client: config.client.clone(),
        running: Arc::clone(&shared.running),
        access_log: config.log.access,
    };
    Front::new(parts, Arc::clone(&shared.connections))
}

fn load_tokens(config: &Config) -> Result<Option<Tokens>, StartError> {
    let Some(tcp) = &config.admin.tcp else {
        return Ok(None);
    };
    let files = tcp
        .tokens
        .iter()
        .map(|token| (token.name.clone(), token.file.clone()));
    let tokens = Tokens::load(files.collect()).map_err(|error| format!("admin.tokens: {error}"))?;
    Ok(Some(tokens))
}

/// Where operators and Prometheus come in.
struct Doors {
    unix: tokio::net::UnixListener,
    tcp: Option<Bound>,
    tokens: Option<Tokens>,
    metrics: Option<Bound>,
}

/// Serves the admin API and the metrics listener; they go on while the last exchanges finish.
fn serve_operators(
    doors: Doors,
    process: Process,
    control: &Arc<Control>,
    shared: &Shared,
    (stopping, ended): (&watch::Receiver<bool>, &watch::Sender<bool>),
) -> Result<JoinSet<()>, StartError> {
    let end = || {
        let mut ended = ended.subscribe();
        async move {
            // An error means that the sender is gone, which is the end too.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    };
    let router = admin::router(Admin {
        control: Arc::clone(control),
        process,
    });
    let listener = |bound: Bound| {
        tokio::net::TcpListener::from_std(bound.listener)
            .map_err(|error| format!("{}: {error}", bound.address))
    };
    let mut serving = JoinSet::new();
    serving.spawn(admin::serve_unix(doors.unix, router.clone(), end()));
    if let (Some(bound), Some(tokens)) = (doors.tcp, doors.tokens) {
        let door = TcpDoor { tokens, host: None };
        serving.spawn(admin::serve_tcp(listener(bound)?, router, door, end()));
    }
    if let Some(bound) = doors.metrics {
        let (metrics, stopping) = (Arc::clone(&shared.metrics), stopping.clone());
        let plain = admin::plain::router(
            Arc::new(move || metrics.render()),
            Arc::new(move || !*stopping.borrow()),
        );
        serving.spawn(admin::serve_plain(listener(bound)?, plain, end()));
    }
    Ok(serving)
}

/// Opens the state file if there is one, off the async threads, and reads what it has.
async fn open_state(
    config: &Config,
) -> Result<(Arc<dyn Store>, Option<crate::pool::model::Model>), StartError> {
    let Some(path) = config.state.clone() else {
        tracing::warn!("no state file: what the admin API changes is lost at the next start");
        return Ok((Arc::new(Forgetful), None));
    };
    let opened = tokio::task::spawn_blocking(move || {
        let state = StateFile::open(path);
        state.check().map_err(|error| error.to_string())?;
        let loaded = state.load();
        Ok::<_, String>((state, loaded))
    });
    let (state, loaded) = opened.await.map_err(|error| error.to_string())??;
    for warning in &loaded.warnings {
        tracing::error!("{warning}");
    }
    Ok((Arc::new(state), loaded.model))
}

/// Follows the published snapshots: who is to be probed, and whose metrics are to be ready.
async fn keep_probing(pools: Arc<Pools>, metrics: Arc<Metrics>, checker: Checker) {
    let mut published = pools.follow();
    loop {
        published.borrow_and_update();
        let snapshot = pools.load_full();
        metrics.prepare();
        let wanted = snapshot
            .entries()
            .filter(|(_, entry)| !entry.backend.reading().is_sealed())
            .map(|(pool, entry)| (Arc::clone(&entry.backend), pool.settings.health.clone()));
        checker.reconcile(wanted.collect());
        drop(snapshot);
        if published.changed().await.is_err() {
            return;
        }
    }
}

fn about(sockets: &Sockets) -> Process {
    let status = |address: &SocketAddr| ListenerStatus {
        address: address.to_string(),
    };
    Process {
        started: SystemTime::now(),
        listeners: sockets
            .clients
            .iter()
            .map(|shared| status(&shared.address))
            .collect(),
        admin: sockets.admin.as_ref().map(|bound| status(&bound.address)),
        metrics: sockets.metrics.as_ref().map(|bound| status(&bound.address)),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Stop,
    EndNow,
    Reload,
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.term.recv() => Asked::Stop,
            _ = self.int.recv() => Asked::EndNow,
            _ = self.hup.recv() => Asked::Reload,
        }
    }

    /// Resolves with the next signal that ends the process: a second SIGTERM, or a SIGINT.
    async fn end_now(&mut self) {
        while self.next().await == Asked::Reload {}
    }
}
