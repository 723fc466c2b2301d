//! What each section reads, and what is there when it is left out.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{AdminConfig, Config, Format, Level, LogConfig, TcpAdmin, TokenFile};
use super::{config, with, with_pool, with_routes};
use crate::spec::*;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn what_is_left_out_is_at_its_default() {
    let expected = Config {
        workers: None,
        admin: AdminConfig::default(),
        metrics: None,
        state: None,
        log: LogConfig::default(),
        shutdown_timeout: secs(30),
        client: ClientSpec::default(),
        listeners: vec!["127.0.0.1:0".parse().unwrap()],
        topology: Topology {
            pools: vec![PoolSpec {
                name: PoolName::parse("web").unwrap(),
                settings: PoolSettings {
                    balance: Balance::LeastRequests,
                    health: HealthSpec::new(ProbeKind::Http {
                        path: "/up".into(),
                        host: None,
                        statuses: Statuses::default(),
                    }),
                    drain: DrainSpec::default(),
                    hold: HoldSpec::default(),
                    timeouts: TimeoutSpec::default(),
                    rollout: RolloutSpec::default(),
                },
                backends: Vec::new(),
            }],
            routes: vec![RouteSpec {
                host: HostPattern::Any,
                path: "/".into(),
                pool: PoolName::parse("web").unwrap(),
            }],
        },
        warnings: Vec::new(),
    };
    assert_eq!(config(&with("")), expected);
    assert_eq!(
        config(&with("admin: {}\nlog: {}\nshutdown: {}\nclient: {}")),
        expected
    );
}

#[test]
fn the_process_reads_every_key() {
    let config = config(&with(
        "workers: 3
admin:
  {socket: /tmp/a, group: ops, address: \"[::1]:0\", tokens: [{name: ci, file: /t/ci}]}
metrics: {address: \"127.0.0.1:9900\"}
state: {file: /s/state.json}
log: {format: json, level: trace, access: true}
shutdown: {timeout: 1h}
client:
  head_timeout: 1s
  body_idle: 2s
  keep_alive: 3s
  connections_max: 4
  head_size: 5KiB
  head_fields: 6
  target_size: 700B
  trusted_proxies: [10.0.0.0/8, \"::1\"]",
    ));
    assert_eq!(config.workers, Some(3));
    let tokens = vec![TokenFile {
        name: "ci".into(),
        file: "/t/ci".into(),
    }];
    let expected = AdminConfig {
        socket: "/tmp/a".into(),
        group: Some("ops".into()),
        tcp: Some(TcpAdmin {
            address: "[::1]:0".parse().unwrap(),
            tokens,
        }),
    };
    assert_eq!(config.admin, expected);
    assert_eq!(config.metrics, Some("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(config.state, Some(PathBuf::from("/s/state.json")));
    let (format, level, access) = (Format::Json, Level::Trace, true);
    assert_eq!(
        config.log,
        LogConfig {
            format,
            level,
            access
        }
    );
    assert_eq!(config.shutdown_timeout, secs(3600));
    let expected = ClientSpec {
        head_timeout: secs(1),
        body_idle: secs(2),
        keep_alive: secs(3),
        connections_max: 4,
        head_bytes_max: 5 * 1024,
        fields_max: 6,
        target_bytes_max: 700,
        trusted_proxies: ["10.0.0.0/8", "::1"]
            .map(|net| IpNet::parse(net).unwrap())
            .into(),
    };
    assert_eq!(config.client, expected);
}

#[test]
fn a_pool_reads_every_key() {
    let config = config(&with_pool(
        "balance: round_robin,
         backends: [{id: a, address: \"unix:/run/a\", weight: 256}, {id: \"1\", address: b:80}],
         health: {http: \"/up?x=1\", host: h:80, statuses: [404, \"200-299\"], interval: 9s,
                  timeout: 8s, rise: 7, fall: 6},
         drain: {wait: 0s, timeout: 2s, on_timeout: close, idle_timeout: 3s,
                 tunnels: {close_after: never, spread: 0s}},
         hold: {timeout: 0s, max_requests: 5},
         timeouts: {connect: 1s, response_head: 2s, body_idle: 3s, tunnel_idle: 4s,
                    upstream_idle: 5ms},
         rollout: {min_healthy_time: 0s, healthy_deadline: 1s, bake: 0s, auto_revert: false,
                   min_requests: 2, error_margin: 0.25%, sticky: \"header:X-User\"}",
    ));
    let expected = PoolSettings {
        balance: Balance::RoundRobin,
        health: HealthSpec {
            kind: ProbeKind::Http {
                path: "/up?x=1".into(),
                host: Some("h:80".into()),
                statuses: Statuses(vec![(404, 404), (200, 299)]),
            },
            interval: secs(9),
            timeout: secs(8),
            rise: 7,
            fall: 6,
        },
        drain: DrainSpec {
            wait: secs(0),
            timeout: secs(2),
            on_timeout: OnTimeout::Close,
            idle_timeout: secs(3),
            tunnels: TunnelSpec {
                close_after: None,
                spread: secs(0),
            },
        },
        hold: HoldSpec {
            timeout: secs(0),
            max_requests: 5,
        },
        timeouts: TimeoutSpec {
            connect: secs(1),
            response_head: secs(2),
            body_idle: secs(3),
            tunnel_idle: secs(4),
            upstream_idle: Duration::from_millis(5),
        },
        rollout: RolloutSpec {
            min_healthy_time: secs(0),
            healthy_deadline: secs(1),
            bake: secs(0),
            auto_revert: false,
            min_requests: 2,
            error_margin: Share::parse("0.25%").unwrap(),
            sticky: Some(Sticky::Header("x-user".into())),
        },
    };
    let pool = &config.topology.pools[0];
    assert_eq!(pool.settings, expected);
    let backend = |id: &str, address: &str, weight| BackendSpec {
        id: BackendId::parse(id).unwrap(),
        address: Address::parse(address).unwrap(),
        weight: Weight::new(weight).unwrap(),
    };
    let expected = [backend("a", "unix:/run/a", 256), backend("1", "b:80", 1)];
    assert_eq!(pool.backends, expected);
}

#[test]
fn routes_are_read_in_one_spelling() {
    let config = config(&with_routes(
        "{pool: web}, {host: App.Example.COM, path: /api/, pool: web}, \
         {host: \"*.Example.com\", path: /a/b, pool: web}, {host: \"[0::1]\", pool: web}, \
         {host: 10.0.0.1, path: /, pool: web}",
    ));
    let exact = |host: &str| HostPattern::Exact(host.into());
    let routes = config.topology.routes;
    let routes: Vec<_> = routes
        .iter()
        .map(|route| (&route.host, route.path.as_str()))
        .collect();
    assert_eq!(
        routes,
        [
            (&HostPattern::Any, "/"),
            (&exact("app.example.com"), "/api"),
            (&HostPattern::Suffix(".example.com".into()), "/a/b"),
            (&exact("[::1]"), "/"),
            (&exact("10.0.0.1"), "/"),
        ]
    );
}
