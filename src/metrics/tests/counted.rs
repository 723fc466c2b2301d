//! What is counted: requests, drains, rollouts and reloads, none of them lost.

use std::time::Duration;

use super::*;
use crate::backend::{ProbeReport, Tally};
use crate::events::About;

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
fn drains_rollouts_and_reloads_are_counted_as_they_are_told() {
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
    let decided = |decided| Happening::RolloutDecided {
        rollout: 3,
        decided,
        cause: "status 503".to_owned(),
        took: Duration::from_secs(7),
    };
    for word in ["moved", "failed", "moved", "reverted", "aborted"] {
        events.emit(about("web"), decided(word));
    }
    events.emit(about("gone"), decided("failed"));
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
        (
            "tidegate_rollouts_total{pool=\"web\",outcome=\"moved\"}",
            2.0,
        ),
        (
            "tidegate_rollouts_total{pool=\"web\",outcome=\"failed\"}",
            1.0,
        ),
        (
            "tidegate_rollouts_total{pool=\"web\",outcome=\"reverted\"}",
            1.0,
        ),
        (
            "tidegate_rollouts_total{pool=\"web\",outcome=\"aborted\"}",
            1.0,
        ),
        ("tidegate_reloads_total{outcome=\"applied\"}", 1.0),
        ("tidegate_reloads_total{outcome=\"rejected\"}", 2.0),
    ] {
        assert_eq!(value(&metrics, series), expected, "{series}");
    }
    assert!(!metrics.render().contains("gone"));
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

#[test]
fn a_tally_is_read_out_of_what_is_counted_anyway() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    let backend = backend(&metrics, "web", 1);
    let tally = |answers, errors| Tally { answers, errors };
    assert_eq!(backend.tally(), tally(0, 0), "nothing was counted yet");
    let handles = metrics.of(&backend);
    for status in [101, 200, 302, 404, 499] {
        handles.observe(status, Duration::ZERO);
    }
    handles.responded(101);
    assert_eq!(backend.tally(), tally(6, 0));
    for status in [500, 502, 599] {
        handles.observe(status, Duration::ZERO);
    }
    assert_eq!(backend.tally(), tally(9, 3));
    handles.connect_failure();
    handles.lost();
    assert_eq!(backend.tally(), tally(11, 5));
    handles.broke_off();
    assert_eq!(backend.tally(), tally(11, 6));
    handles.excuse();
    assert_eq!(backend.tally(), tally(10, 5));
    handles.error(CONNECT_FAILED);
    handles.retry();
    assert_eq!(backend.tally(), tally(10, 5));
}

/// Read in the middle of counting.
#[test]
fn a_tally_never_has_more_errors_than_answers() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    let backend = backend(&metrics, "web", 1);
    let handles = metrics.of(&backend);
    handles.excuse();
    handles.broke_off();
    let none = Tally {
        answers: 0,
        errors: 0,
    };
    assert_eq!(backend.tally(), none);
}
