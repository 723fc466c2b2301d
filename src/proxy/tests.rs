//! Exchanges over a whole front in this process, for what no client can see: which side of a canary a
//! request was drawn to, and what is held against whom.

use std::net::SocketAddr;

use pingora::apps::ServerApp;
use pingora::protocols::l4::stream::Stream as Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

use super::*;
use crate::backend::{Admission, Backend, Exchange, Generation, Health, Tally};
use crate::metrics::Build;
use crate::pool::FileSettings;
use crate::pool::model::{Model, PoolModel};
use crate::pool::rollout::Phase;
use crate::pool::split::Draw;
use crate::pool::split::tests::rollout;
use crate::pool::testing::{member, settings};
use crate::spec::{
    HostPattern, Intent, PoolName, PoolSpec, RouteSpec, Share, Sticky, Target, Topology,
};

/// What an app does with each connection: reads one head, sends this, and closes. `None`: it listens
/// no more.
type App = Option<&'static str>;

const OLD: App = Some("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
const NEW: App = Some("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

async fn start(app: App) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if let Some(answer) = app {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
    }
    address
}

struct Rig {
    pools: Arc<Pools>,
    front: Arc<Front>,
}

impl Rig {
    /// One pool: generations above 10 are new, and get this share.
    async fn new(apps: &[(Generation, App)], share: &str, sticky: Option<&str>) -> Self {
        let mut of_web = PoolModel::default();
        for (generation, app) in apps {
            let mut member = member(*generation, Intent::Active);
            member.target = Target::Tcp(start(*app).await);
            of_web.members.push(member);
        }
        let phase = Phase::Canary(Share::parse(share).unwrap());
        let sticky = sticky.map(|text| Sticky::parse(text).unwrap());
        of_web.rollout = Some(rollout(&of_web.members, phase, sticky));
        let topology = Topology {
            pools: vec![PoolSpec {
                name: web(),
                settings: settings(),
                backends: Vec::new(),
            }],
            routes: vec![RouteSpec {
                host: HostPattern::Any,
                path: "/".into(),
                pool: web(),
            }],
        };
        let mut model = Model::default();
        model.pools.insert(web(), of_web);
        let pools = Arc::new(Pools::new());
        let file = FileSettings {
            topology: &topology,
            admission: Admission::Added,
        };
        pools.commit(&model, Some(file)).unwrap();
        for (_, entry) in pools.load().entries() {
            entry.backend.set_health(Health::Healthy);
        }
        pools.refresh(&web());
        let build = Build {
            version: "0",
            revision: None,
        };
        let parts = Parts {
            pools: Arc::clone(&pools),
            metrics: Metrics::new(Arc::clone(&pools), build, &ErrorWord::WORDS),
            client: ClientSpec::default(),
            running: Arc::default(),
            access_log: false,
        };
        Self {
            pools,
            front: Arc::new(Front::new(parts, Arc::default())),
        }
    }

    fn backend(&self, generation: Generation) -> Arc<Backend> {
        let snapshot = self.pools.load();
        let entry = snapshot.pool(&web()).unwrap().entry(generation).unwrap();
        Arc::clone(&entry.backend)
    }

    /// Answers and errors.
    fn tally(&self, generation: Generation) -> (u64, u64) {
        let Tally { answers, errors } = self.backend(generation).tally();
        (answers, errors)
    }

    /// The answer to one request on a connection of its own.
    async fn ask(&self, request: &str) -> String {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (_going, shutdown) = watch::channel(false);
        let client = async {
            far.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let served = self
            .front
            .process_new(Box::new(Socket::from(near)), &shutdown);
        tokio::join!(served, client).1
    }

    async fn is_new(&self, request: &str) -> bool {
        let answer = self.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.ends_with("new")
    }
}

#[tokio::test]
async fn of_requests_without_a_known_client_the_canary_gets_the_exact_share() {
    let rig = Rig::new(&[(1, OLD), (11, NEW)], "10%", Some("cookie:sid")).await;
    let mut new = Vec::new();
    for n in 1..=30 {
        if rig.is_new(GET).await {
            new.push(n);
        }
    }
    assert_eq!(new, [10, 20, 30]);
    assert_eq!((rig.tally(1), rig.tally(11)), ((27, 0), (3, 0)));
}

#[tokio::test]
async fn a_known_client_goes_to_the_side_of_its_bucket() {
    for sticky in ["cookie:sid", "header:x-user"] {
        let rig = Rig::new(&[(1, OLD), (11, NEW)], "50%", Some(sticky)).await;
        let mut new = 0;
        for n in 0..20 {
            let mut draw = Draw::of_client(format!("client-{n}").as_bytes());
            let exchange = Arc::new(Exchange::new("GET", "/", None));
            let claim = rig.pools.claim(&web(), &exchange, &[], &mut draw).unwrap();
            let expected = claim.backend().generation() == 11;
            let fields = format!("X-User: client-{n}\r\nCookie: a=b; sid=client-{n}\r\n\r\n");
            let request = GET.replace("\r\n\r\n", &format!("\r\n{fields}"));
            assert_eq!(rig.is_new(&request).await, expected, "{sticky}: {n}");
            new += i32::from(expected);
        }
        assert!((1..20).contains(&new), "all are on one side");
    }
}

/// What an app does, and the request; the first line that the client gets, and what is held against
/// the app.
const ENDS: [(App, &str, &str, (u64, u64)); 11] = [
    (OLD, GET, "200 OK", (1, 0)),
    (
        Some("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        GET,
        "404 No",
        (1, 0),
    ),
    (
        Some("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        GET,
        "500 Oh",
        (1, 1),
    ),
    (
        Some("HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n"),
        GET,
        "503 Oh",
        (1, 1),
    ),
    // Not taken, and nobody else is there.
    (None, GET, "502 Bad Gateway", (1, 1)),
    // Dropped, and tried again in vain; or not to be tried again.
    (Some(""), GET, "502 Bad Gateway", (1, 1)),
    (Some(""), POST, "502 Bad Gateway", (1, 1)),
    (Some("nonsense\r\n\r\n"), GET, "502 Bad Gateway", (1, 1)),
    // Broken off.
    (
        Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nold"),
        GET,
        "200 OK",
        (1, 1),
    ),
    (
        Some("HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\nold"),
        GET,
        "500 Oh",
        (1, 1),
    ),
    (
        Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx"),
        GET,
        "502 Bad Gateway",
        (1, 1),
    ),
];

#[tokio::test]
async fn however_an_exchange_ends_it_is_held_against_its_backend_once_at_most() {
    for (app, request, line, tally) in ENDS {
        let rig = Rig::new(&[(1, app)], "0%", None).await;
        let answer = rig.ask(request).await;
        let found = answer.lines().next().unwrap_or_default();
        assert_eq!(found, format!("HTTP/1.1 {line}"), "{app:?} {request}");
        assert_eq!(rig.tally(1), tally, "{app:?} {request}");
    }
}

#[tokio::test]
async fn what_another_backend_made_good_is_held_against_the_one_that_failed() {
    for failing in [None, Some("")] {
        let rig = Rig::new(&[(1, OLD), (11, failing)], "100%", None).await;
        assert!(!rig.is_new(GET).await);
        assert_eq!(
            (rig.tally(1), rig.tally(11)),
            ((1, 0), (1, 1)),
            "{failing:?}"
        );
    }
}

/// Requests that a canary could not take are served by the old ones, which are tried next.
#[tokio::test]
async fn a_canary_that_takes_no_connection_costs_no_request() {
    let apps = [(1, OLD), (2, OLD), (11, None), (12, None), (13, None)];
    let rig = Rig::new(&apps, "100%", None).await;
    for _ in 0..10 {
        assert!(!rig.is_new(POST).await);
    }
}
