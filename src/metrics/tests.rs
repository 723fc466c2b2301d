//! What a scrape shows, and when it stops showing it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::*;
use crate::backend::{Admission, Exchange, Health, ProbeReport};
use crate::events::About;
use crate::pool::FileSettings;
use crate::pool::model::{Model, PoolModel};
use crate::pool::testing::{member, settings};
use crate::spec::{Intent, PoolSpec, Topology};

const WORDS: &[&str] = &["no_backend", "connect_failed", "bad_request"];
const NO_BACKEND: usize = 0;
const CONNECT_FAILED: usize = 1;
const BAD_REQUEST: usize = 2;

fn name(text: &str) -> PoolName {
    PoolName::parse(text).unwrap()
}

/// Publishes pools with members of these generations.
fn publish(pools: &Pools, of: &[(&str, &[(u64, Intent)])]) {
    let topology = Topology {
        pools: of
            .iter()
            .map(|(pool, _)| PoolSpec {
                name: name(pool),
                settings: settings(),
                backends: Vec::new(),
            })
            .collect(),
        routes: Vec::new(),
    };
    let pool_model = |members: &[(u64, Intent)]| PoolModel {
        members: members
            .iter()
            .map(|(n, intent)| member(*n, *intent))
            .collect(),
        leaving: false,
    };
    let model = Model {
        next_generation: 10_000,
        pools: of
            .iter()
            .map(|(pool, members)| (name(pool), pool_model(members)))
            .collect(),
        applied: BTreeMap::new(),
    };
    let file = FileSettings {
        topology: &topology,
        admission: Admission::Added,
    };
    pools.commit(&model, Some(file)).unwrap();
}

fn metrics(of: &[(&str, &[(u64, Intent)])]) -> Arc<Metrics> {
    let pools = Arc::new(Pools::new());
    publish(&pools, of);
    let build = Build {
        version: "1.2.3",
        revision: Some("abc"),
    };
    Metrics::new(pools, build, WORDS)
}

fn backend(metrics: &Metrics, pool: &str, generation: u64) -> Arc<Backend> {
    let snapshot = metrics.pools.load_full();
    let entry = snapshot.pool(&name(pool)).unwrap().entry(generation);
    Arc::clone(&entry.unwrap().backend)
}

/// The samples of a scrape; two of one name and labels would be a mistake.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let before = samples.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "twice: {line}");
    }
    samples
}

fn value(metrics: &Metrics, series: &str) -> f64 {
    let samples = samples(&metrics.render());
    let found = samples.get(series).copied();
    found.unwrap_or_else(|| panic!("no {series} in {:#?}", samples.keys()))
}

#[test]
fn every_metric_has_its_name_type_and_help() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    metrics.client_connections_from(|| 42);
    let text = metrics.render();
    let of_kind = |kind: &str| -> Vec<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let types = types.map(|line| line.split_once(' ').unwrap());
        let names = types.filter(|(_, of)| *of == kind).map(|(name, _)| name);
        names
            .filter(|name| name.starts_with("tidegate_"))
            .map(Into::into)
            .collect()
    };
    assert_eq!(
        of_kind("gauge"),
        [
            "tidegate_build_info",
            "tidegate_client_connections",
            "tidegate_pool_eligible_backends",
            "tidegate_pool_held_requests",
            "tidegate_backend_requests_in_flight",
            "tidegate_backend_tunnels_in_flight",
            "tidegate_backend_weight",
            "tidegate_backend_eligible",
            "tidegate_backend_drained",
            "tidegate_backend_intent",
            "tidegate_backend_health",
            "tidegate_backend_connections",
        ]
    );
    assert_eq!(
        of_kind("counter"),
        [
            "tidegate_route_misses_total",
            "tidegate_unrouted_responses_total",
            "tidegate_unrouted_errors_total",
            "tidegate_reloads_total",
            "tidegate_pool_responses_total",
            "tidegate_pool_errors_total",
            "tidegate_drains_total",
            "tidegate_drain_cut_total",
            "tidegate_backend_responses_total",
            "tidegate_backend_errors_total",
            "tidegate_backend_connect_failures_total",
            "tidegate_backend_retries_total",
            "tidegate_backend_probes_total",
        ]
    );
    assert_eq!(
        of_kind("histogram"),
        [
            "tidegate_drain_duration_seconds",
            "tidegate_backend_request_duration_seconds"
        ]
    );
    assert!(text.contains("\nprocess_open_fds "), "{text}");
    assert_eq!(value(&metrics, "tidegate_client_connections"), 42.0);
    let build = "tidegate_build_info{version=\"1.2.3\",revision=\"abc\"}";
    assert_eq!(value(&metrics, build), 1.0);
}

/// The rules that `promtool check metrics` and the text format hold us to. For promtool itself:
/// `TIDEGATE_SCRAPE=/tmp/scrape cargo test --lib names_labels; promtool check metrics </tmp/scrape`.
#[test]
fn names_labels_and_order_follow_the_rules() {
    let metrics = metrics(&[
        ("web", &[(1, Intent::Active), (2, Intent::Draining)]),
        ("api", &[]),
    ]);
    let text = metrics.render();
    let labels = [
        "pool",
        "backend",
        "generation",
        "class",
        "error",
        "intent",
        "health",
        "result",
        "outcome",
        "kind",
        "state",
        "le",
        "version",
        "revision",
    ];
    let (mut seen, mut family, mut kind, mut help) = (BTreeSet::new(), "", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().0;
            assert!(
                rest.ends_with('.') || help.starts_with("process_"),
                "{line}"
            );
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert_eq!(family, help, "HELP comes before TYPE");
            assert!(seen.insert(family), "{family} is there twice");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
            assert_eq!(
                kind == "histogram",
                family.ends_with("_duration_seconds"),
                "{family}"
            );
            let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(family.bytes().all(plain), "{family}");
        } else {
            let name_ends = line.find(['{', ' ']).unwrap();
            let suffix = line[..name_ends].strip_prefix(family).unwrap();
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            for label in line
                .split(['{', ','])
                .filter_map(|part| part.split_once("=\""))
            {
                assert!(labels.contains(&label.0), "{line}");
            }
        }
    }
    samples(&text);
    assert!(text.ends_with('\n'));
    if let Some(path) = std::env::var_os("TIDEGATE_SCRAPE") {
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn gauges_are_what_the_snapshot_and_the_word_say_at_the_scrape() {
    let metrics = metrics(&[("web", &[(1, Intent::Active), (2, Intent::Draining)])]);
    let of = |metric: &str, generation: u64, more: &str| {
        let labels = format!("pool=\"web\",backend=\"b{generation}\",generation=\"{generation}\"");
        value(
            &metrics,
            &format!("tidegate_backend_{metric}{{{labels}{more}}}"),
        )
    };
    assert_eq!(of("health", 1, ",health=\"unknown\""), 1.0);
    assert_eq!(of("eligible", 1, ""), 0.0);
    let first = backend(&metrics, "web", 1);
    first.set_health(Health::Healthy);
    metrics.pools.refresh(&name("web"));
    assert_eq!(of("health", 1, ",health=\"unknown\""), 0.0);
    assert_eq!(of("health", 1, ",health=\"healthy\""), 1.0);
    assert_eq!(of("eligible", 1, ""), 1.0);
    assert_eq!(
        value(&metrics, "tidegate_pool_eligible_backends{pool=\"web\"}"),
        1.0
    );
    assert_eq!(of("intent", 1, ",intent=\"active\""), 1.0);
    assert_eq!(of("intent", 2, ",intent=\"active\""), 0.0);
    assert_eq!(of("intent", 2, ",intent=\"draining\""), 1.0);
    assert_eq!(of("weight", 1, ""), 1.0);

    let exchange = Arc::new(Exchange::new("GET", "/", None));
    let request = first.claim(&exchange).unwrap();
    let mut tunnel = first.claim(&exchange).unwrap();
    tunnel.upgrade();
    assert_eq!(of("requests_in_flight", 1, ""), 1.0);
    assert_eq!(of("tunnels_in_flight", 1, ""), 1.0);
    drop((request, tunnel));
    assert_eq!(of("requests_in_flight", 1, ""), 0.0);
    assert_eq!(of("tunnels_in_flight", 1, ""), 0.0);

    assert_eq!(of("drained", 2, ""), 0.0);
    assert!(backend(&metrics, "web", 2).word().seal());
    assert_eq!(of("drained", 2, ""), 1.0);

    let hold = Arc::clone(&metrics.pools.load().pool(&name("web")).unwrap().hold);
    let _ticket = hold.join(1).unwrap();
    assert_eq!(
        value(&metrics, "tidegate_pool_held_requests{pool=\"web\"}"),
        1.0
    );
}

#[test]
fn what_a_request_counts_is_in_the_next_scrape() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    let backend = backend(&metrics, "web", 1);
    let handles = metrics.of(&backend);
    for (status, ms) in [
        (200, 1),
        (204, 3),
        (500, 70_000),
        (101, 4),
        (99, 0),
        (999, 0),
    ] {
        handles.observe(status, Duration::from_millis(ms));
    }
    handles.responded(101);
    handles.error(CONNECT_FAILED);
    handles.connect_failure();
    handles.connect_failure();
    handles.retry();
    for result in [
        Ok("status 200".into()),
        Err("refused".into()),
        Err("refused".into()),
    ] {
        backend.record_probe(ProbeReport {
            at: std::time::SystemTime::now(),
            took: Duration::ZERO,
            result,
        });
    }
    metrics.unrouted().answered(400, BAD_REQUEST);
    metrics.route_missed();
    let pool = metrics.pool(&name("web")).unwrap();
    pool.answered(503, NO_BACKEND);
    let of = "pool=\"web\",backend=\"b1\",generation=\"1\"";
    let buckets = "tidegate_backend_request_duration_seconds";
    for (series, expected) in [
        (
            format!("tidegate_backend_responses_total{{{of},class=\"1xx\"}}"),
            3.0,
        ),
        (
            format!("tidegate_backend_responses_total{{{of},class=\"2xx\"}}"),
            2.0,
        ),
        (
            format!("tidegate_backend_responses_total{{{of},class=\"5xx\"}}"),
            2.0,
        ),
        (
            format!("tidegate_backend_errors_total{{{of},error=\"connect_failed\"}}"),
            1.0,
        ),
        (
            format!("tidegate_backend_errors_total{{{of},error=\"bad_request\"}}"),
            0.0,
        ),
        (
            format!("tidegate_backend_connect_failures_total{{{of}}}"),
            2.0,
        ),
        (format!("tidegate_backend_retries_total{{{of}}}"), 1.0),
        (
            format!("tidegate_backend_probes_total{{{of},result=\"good\"}}"),
            1.0,
        ),
        (
            format!("tidegate_backend_probes_total{{{of},result=\"failed\"}}"),
            2.0,
        ),
        (format!("{buckets}_bucket{{{of},le=\"0.001\"}}"), 3.0),
        (format!("{buckets}_bucket{{{of},le=\"0.0025\"}}"), 3.0),
        (format!("{buckets}_bucket{{{of},le=\"0.005\"}}"), 5.0),
        (format!("{buckets}_bucket{{{of},le=\"60\"}}"), 5.0),
        (format!("{buckets}_bucket{{{of},le=\"+Inf\"}}"), 6.0),
        (format!("{buckets}_count{{{of}}}"), 6.0),
        (format!("{buckets}_sum{{{of}}}"), 70.008),
        (
            "tidegate_pool_errors_total{pool=\"web\",error=\"no_backend\"}".into(),
            1.0,
        ),
        (
            "tidegate_pool_responses_total{pool=\"web\",class=\"5xx\"}".into(),
            1.0,
        ),
        (
            "tidegate_unrouted_errors_total{error=\"bad_request\"}".into(),
            1.0,
        ),
        (
            "tidegate_unrouted_responses_total{class=\"4xx\"}".into(),
            1.0,
        ),
        ("tidegate_route_misses_total".into(), 1.0),
    ] {
        assert_eq!(value(&metrics, &series), expected, "{series}");
    }
}

#[test]
fn drains_and_reloads_are_counted_as_they_are_told() {
    let metrics = metrics(&[("web", &[(1, Intent::Draining)])]);
    let events = Events::new();
    metrics.watch(&events);
    let about = |pool: &str| About {
        pool: Some(pool.into()),
        ..About::default()
    };
    let ended = |outcome, seconds, cut_requests| Happening::DrainEnded {
        outcome,
        took: Duration::from_secs(seconds),
        cut_requests,
        cut_tunnels: 2,
    };
    events.emit(about("web"), ended("clean", 7, 0));
    events.emit(about("web"), ended("forced", 400, 3));
    events.emit(about("web"), ended("restored", 9, 0));
    events.emit(about("gone"), ended("clean", 1, 0));
    let summary = String::new();
    events.emit(About::default(), Happening::Reloaded { summary });
    events.emit(About::default(), Happening::ReloadRejected { problems: 3 });
    events.emit(About::default(), Happening::ReloadRejected { problems: 3 });
    for (series, expected) in [
        ("tidegate_drains_total{pool=\"web\",outcome=\"clean\"}", 1.0),
        (
            "tidegate_drains_total{pool=\"web\",outcome=\"forced\"}",
            1.0,
        ),
        (
            "tidegate_drains_total{pool=\"web\",outcome=\"restored\"}",
            1.0,
        ),
        ("tidegate_drain_duration_seconds_count{pool=\"web\"}", 2.0),
        (
            "tidegate_drain_duration_seconds_bucket{pool=\"web\",le=\"10\"}",
            1.0,
        ),
        (
            "tidegate_drain_duration_seconds_bucket{pool=\"web\",le=\"300\"}",
            1.0,
        ),
        (
            "tidegate_drain_duration_seconds_bucket{pool=\"web\",le=\"600\"}",
            2.0,
        ),
        (
            "tidegate_drain_cut_total{pool=\"web\",kind=\"request\"}",
            3.0,
        ),
        (
            "tidegate_drain_cut_total{pool=\"web\",kind=\"tunnel\"}",
            6.0,
        ),
        ("tidegate_reloads_total{outcome=\"applied\"}", 1.0),
        ("tidegate_reloads_total{outcome=\"rejected\"}", 2.0),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    assert!(!metrics.render().contains("gone"));
}

#[test]
fn a_removed_backend_or_pool_leaves_no_line_and_the_others_keep_their_counts() {
    let active = Intent::Active;
    let metrics = metrics(&[
        ("web", &[(1, active), (2, active)]),
        ("api", &[(3, active)]),
    ]);
    for (pool, generation) in [("web", 1), ("web", 2), ("api", 3)] {
        let backend = backend(&metrics, pool, generation);
        metrics.of(&backend).observe(200, Duration::ZERO);
        metrics.pool(&name(pool)).unwrap().answered(503, NO_BACKEND);
    }
    assert!(metrics.render().contains("backend=\"b1\""));
    publish(&metrics.pools, &[("web", &[(2, active)])]);
    let text = metrics.render();
    assert!(
        !text.contains("b1") && !text.contains("b3") && !text.contains("api"),
        "{text}"
    );
    let left = samples(&text);
    let of = "pool=\"web\",backend=\"b2\",generation=\"2\",class=\"2xx\"";
    assert_eq!(
        left[&format!("tidegate_backend_responses_total{{{of}}}")],
        1.0
    );
    let of = "pool=\"web\",error=\"no_backend\"";
    assert_eq!(left[&format!("tidegate_pool_errors_total{{{of}}}")], 2.0);
    assert!(metrics.pool(&name("api")).is_none());
    assert_eq!(metrics.of_pools.load().len(), 1, "nothing of it is kept");
}

#[test]
fn two_generations_of_one_id_are_two_series() {
    let metrics = metrics(&[]);
    let mut old = member(1, Intent::Draining);
    let new = member(2, Intent::Active);
    old.id = new.id.clone();
    publish(&metrics.pools, &[("web", &[])]);
    let pool = PoolModel {
        members: vec![old, new],
        leaving: false,
    };
    let model = Model {
        next_generation: 3,
        pools: [(name("web"), pool)].into(),
        applied: BTreeMap::new(),
    };
    metrics.pools.commit(&model, None).unwrap();
    let weight = "tidegate_backend_weight{pool=\"web\",backend=\"b2\",generation=";
    let series = samples(&metrics.render());
    let of_id = series.keys().filter(|series| series.starts_with(weight));
    assert_eq!(of_id.count(), 2);
}

#[test]
fn no_count_is_lost_or_taken_back_while_others_count_publish_and_scrape() {
    const EACH: u64 = 20_000;
    let active: &[(u64, Intent)] = &[(1, Intent::Active)];
    let metrics = metrics(&[("web", active)]);
    let first = backend(&metrics, "web", 1);
    let of = "{pool=\"web\",backend=\"b1\",generation=\"1\"";
    let total = format!("tidegate_backend_responses_total{of},class=\"2xx\"}}");
    let own = "tidegate_pool_errors_total{pool=\"web\",error=\"no_backend\"}";
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    metrics.of(&first).observe(200, Duration::from_millis(1));
                    metrics
                        .pool(&name("web"))
                        .unwrap()
                        .answered(503, NO_BACKEND);
                }
            });
        }
        scope.spawn(|| {
            for turn in 0..200 {
                let api: &[(&str, &[(u64, Intent)])] = &[("api", &[]), ("web", active)];
                publish(&metrics.pools, &api[turn % 2..]);
                metrics.prepare();
            }
        });
        let mut before = (0.0, 0.0);
        for _ in 0..30 {
            let now = samples(&metrics.render());
            let now = (now[&total], now[own]);
            assert!(
                now.0 >= before.0 && now.1 >= before.1,
                "{now:?} after {before:?}"
            );
            before = now;
        }
    });
    let expected = (2 * EACH) as f64;
    assert_eq!(
        (value(&metrics, &total), value(&metrics, own)),
        (expected, expected)
    );
}

/// How long a scrape of many backends takes, for whoever runs it with `--nocapture`; the bound is
/// one that only a mistake in its growth would break, on an unoptimised build of a busy machine.
#[test]
fn a_scrape_of_500_backends_stays_fast() {
    let members: Vec<(u64, Intent)> = (1..=500).map(|n| (n, Intent::Active)).collect();
    let metrics = metrics(&[("web", &members)]);
    let length = metrics.render().len();
    let begun = std::time::Instant::now();
    let text = metrics.render();
    let took = begun.elapsed();
    println!("{} lines, {length} bytes, {took:?}", text.lines().count());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The alerts and the dashboard ask for nothing that no scrape has.
#[test]
fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    metrics.client_connections_from(|| 1);
    let text = metrics.render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<&str> = types.map(|line| line.split_once(' ').unwrap().0).collect();
    let files = [
        include_str!("../../deploy/prometheus/tidegate.rules.yml"),
        include_str!("../../deploy/prometheus/tidegate.rules.test.yml"),
        include_str!("../../deploy/grafana/tidegate.json"),
    ];
    let mut named = 0;
    for word in files
        .iter()
        .flat_map(|file| file.split(|c: char| !c.is_ascii_lowercase() && c != '_'))
    {
        let is_metric = word.starts_with("tidegate_") || word.starts_with("process_");
        // "tidegate_" alone begins the pattern of two names.
        if is_metric && word != "tidegate_" {
            let family = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(known.contains(family), "{word}");
            named += 1;
        }
    }
    assert!(named > 50);
    serde_json::from_str::<serde_json::Value>(files[2]).unwrap();
}
