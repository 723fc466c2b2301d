//! The names, types, labels and order of what a scrape shows, and that others name nothing else.

use std::collections::BTreeSet;

use super::*;

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
            "tidegate_pool_paused",
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
            "tidegate_rollouts_total",
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

/// The alerts and the dashboard ask for nothing that no scrape has.
#[test]
fn alerts_and_dashboard_name_only_metrics_that_exist() {
    let metrics = metrics(&[("web", &[(1, Intent::Active)])]);
    metrics.client_connections_from(|| 1);
    let text = metrics.render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<&str> = types.map(|line| line.split_once(' ').unwrap().0).collect();
    let files = [
        include_str!("../../../deploy/prometheus/tidegate.rules.yml"),
        include_str!("../../../deploy/prometheus/tidegate.rules.test.yml"),
        include_str!("../../../deploy/grafana/tidegate.json"),
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
