//! The table of metrics, and the scrape that fills it.
//!
//! Every metric stands here once, with its name and its help, in the order of the text: the process
//! first, then pools, then backends. A scrape takes one snapshot and reads each word once, so that
//! the gauges of one backend agree with one another.

use prometheus::core::Collector;

use super::Metrics;
use super::counts::{
    BackendMetrics, DRAIN_OUTCOMES, OwnAnswers, PoolMetrics, ROLLOUT_OUTCOMES, load,
};
use super::samples::{Family, Labels, label, write};
use crate::backend::{Health, Reading};
use crate::pool::{Entry, Pool, Snapshot};
use crate::spec::Intent;

use std::sync::Arc;

const INTENTS: [Intent; 3] = [Intent::Active, Intent::Standby, Intent::Draining];

/// One backend of the snapshot.
struct BackendRow<'a> {
    labels: Labels,
    entry: &'a Entry,
    reading: Reading,
    counts: &'a BackendMetrics,
}

/// One pool of the snapshot.
struct PoolRow<'a> {
    labels: Labels,
    pool: &'a Pool,
    counts: Arc<PoolMetrics>,
}

pub(super) fn render(metrics: &Metrics, snapshot: &Snapshot) -> String {
    let pools: Vec<PoolRow<'_>> = snapshot
        .pools()
        .filter_map(|pool| {
            Some(PoolRow {
                labels: vec![label("pool", pool.name.as_str())],
                // Gone from the snapshot since: the next scrape would not show it either.
                counts: metrics.pool(&pool.name)?,
                pool,
            })
        })
        .collect();
    let backends: Vec<BackendRow<'_>> = snapshot
        .entries()
        .map(|(pool, entry)| BackendRow {
            labels: vec![
                label("pool", pool.name.as_str()),
                label("backend", entry.member.id.as_str()),
                label("generation", entry.member.generation.to_string()),
            ],
            reading: entry.backend.reading(),
            counts: metrics.of(&entry.backend),
            entry,
        })
        .collect();
    // About what a scrape of that many takes; it only spares copies.
    let mut text = String::with_capacity(16 * 1024 * (1 + backends.len()));
    of_process(metrics, &mut text);
    of_pools(&pools, metrics.error_words, &mut text);
    of_drains_and_rollouts(&pools, &mut text);
    gauges_of_backends(&backends, &mut text);
    counts_of_backends(&backends, metrics.error_words, &mut text);
    text
}

fn of_process(metrics: &Metrics, text: &mut String) {
    let mut labels = vec![label("version", metrics.build.version)];
    labels.extend(metrics.build.revision.map(|text| label("revision", text)));
    let mut build = Family::gauge("tidegate_build_info", "The running program; always 1.");
    build.add(&labels, 1);
    build.write(text);
    for family in metrics.process.collect() {
        write(family, text);
    }
    if let Some(read) = metrics.client_connections.get() {
        let mut connections = Family::gauge(
            "tidegate_client_connections",
            "Client connections now open.",
        );
        connections.add(&Labels::new(), read());
        connections.write(text);
    }
    let none = Labels::new();
    let mut misses = Family::counter(
        "tidegate_route_misses_total",
        "Requests that no route takes.",
    );
    misses.add(&none, load(&metrics.route_misses));
    misses.write(text);
    let answers = [(&none, &metrics.unrouted)];
    own_answers(
        &answers,
        metrics.error_words,
        [
            Family::counter(
                "tidegate_unrouted_responses_total",
                "Answers to requests that belong to no pool, by status class.",
            ),
            Family::counter(
                "tidegate_unrouted_errors_total",
                "Answers to requests that belong to no pool, by error word.",
            ),
        ],
        text,
    );
    let mut reloads = Family::counter(
        "tidegate_reloads_total",
        "Times the configuration was read again, by what became of it.",
    );
    reloads.add_with(&none, "outcome", "applied", load(&metrics.reloads_applied));
    reloads.add_with(
        &none,
        "outcome",
        "rejected",
        load(&metrics.reloads_rejected),
    );
    reloads.write(text);
}

fn own_answers(
    answers: &[(&Labels, &OwnAnswers)],
    error_words: &[&str],
    [mut responses, mut errors]: [Family; 2],
    text: &mut String,
) {
    for (labels, own) in answers {
        for (class, count) in own.classes.read() {
            responses.add_with(labels, "class", class, count);
        }
        for (word, count) in error_words.iter().zip(own.errors.read()) {
            errors.add_with(labels, "error", word, count);
        }
    }
    responses.write(text);
    errors.write(text);
}

fn of_pools(pools: &[PoolRow<'_>], error_words: &[&str], text: &mut String) {
    let mut eligible = Family::gauge(
        "tidegate_pool_eligible_backends",
        "Backends that are active and healthy.",
    );
    let mut held = Family::gauge(
        "tidegate_pool_held_requests",
        "Requests that wait for an eligible backend.",
    );
    let mut paused = Family::gauge(
        "tidegate_pool_paused",
        "1 if its requests are held until somebody resumes it.",
    );
    for row in pools {
        eligible.add(&row.labels, row.pool.eligible() as u64);
        held.add(&row.labels, row.pool.hold.len() as u64);
        paused.add(&row.labels, row.pool.pause.is_some().into());
    }
    eligible.write(text);
    held.write(text);
    paused.write(text);
    let answers: Vec<_> = pools
        .iter()
        .map(|row| (&row.labels, &row.counts.own))
        .collect();
    own_answers(
        &answers,
        error_words,
        [
            Family::counter(
                "tidegate_pool_responses_total",
                "Answers that the proxy made without a backend, by status class.",
            ),
            Family::counter(
                "tidegate_pool_errors_total",
                "Answers that the proxy made without a backend, by error word.",
            ),
        ],
        text,
    );
}

fn of_drains_and_rollouts(pools: &[PoolRow<'_>], text: &mut String) {
    let mut drains = Family::counter("tidegate_drains_total", "Drains that ended, by outcome.");
    let mut durations = Family::histogram(
        "tidegate_drain_duration_seconds",
        "From the begin of a drain until the backend was safe to kill.",
    );
    let mut cuts = Family::counter(
        "tidegate_drain_cut_total",
        "Requests and tunnels that drains cut.",
    );
    let mut rollouts = Family::counter(
        "tidegate_rollouts_total",
        "Rollouts and rollbacks that were decided, by how.",
    );
    for PoolRow { labels, counts, .. } in pools {
        for (outcome, count) in ROLLOUT_OUTCOMES.iter().zip(&counts.rollouts) {
            rollouts.add_with(labels, "outcome", outcome, load(count));
        }
        for (outcome, count) in DRAIN_OUTCOMES.iter().zip(&counts.drains) {
            drains.add_with(labels, "outcome", outcome, load(count));
        }
        durations.add_histogram(labels, counts.drain_durations.read());
        cuts.add_with(labels, "kind", "request", load(&counts.cut_requests));
        cuts.add_with(labels, "kind", "tunnel", load(&counts.cut_tunnels));
    }
    drains.write(text);
    durations.write(text);
    cuts.write(text);
    rollouts.write(text);
}

fn gauges_of_backends(backends: &[BackendRow<'_>], text: &mut String) {
    let mut each = |name, help, read: &dyn Fn(&BackendRow<'_>) -> u64| {
        let mut family = Family::gauge(name, help);
        for row in backends {
            family.add(&row.labels, read(row));
        }
        family.write(text);
    };
    each(
        "tidegate_backend_requests_in_flight",
        "Requests that the backend holds.",
        &|row| row.reading.requests().into(),
    );
    each(
        "tidegate_backend_tunnels_in_flight",
        "Tunnels that the backend holds.",
        &|row| row.reading.tunnels().into(),
    );
    each(
        "tidegate_backend_weight",
        "Its share of the pool's requests.",
        &|row| row.entry.member.weight.as_u32().into(),
    );
    each(
        "tidegate_backend_eligible",
        "1 if it is active and healthy.",
        &|row| row.entry.is_eligible().into(),
    );
    each(
        "tidegate_backend_drained",
        "1 if it is drained for good: safe to kill.",
        &|row| row.reading.is_sealed().into(),
    );
    let mut intents = Family::gauge(
        "tidegate_backend_intent",
        "1 for what the operator wants of it, 0 for the others.",
    );
    let mut healths = Family::gauge(
        "tidegate_backend_health",
        "1 for what the probes saw, 0 for the others.",
    );
    for row in backends {
        let (intent, health) = (row.entry.member.intent, row.entry.backend.health());
        for word in INTENTS {
            intents.add_with(
                &row.labels,
                "intent",
                word.as_str(),
                (word == intent).into(),
            );
        }
        for word in Health::ALL {
            healths.add_with(
                &row.labels,
                "health",
                word.as_str(),
                (word == health).into(),
            );
        }
    }
    intents.write(text);
    healths.write(text);
    let mut connections = Family::gauge(
        "tidegate_backend_connections",
        "Connections to the backend: busy, kept for the next request, and probes'.",
    );
    for row in backends {
        let count = row.entry.backend.connections();
        for (state, count) in [
            ("busy", count.busy),
            ("idle", count.idle),
            ("probe", count.probing),
        ] {
            connections.add_with(&row.labels, "state", state, count as u64);
        }
    }
    connections.write(text);
}

fn counts_of_backends(backends: &[BackendRow<'_>], error_words: &[&str], text: &mut String) {
    let mut responses = Family::counter(
        "tidegate_backend_responses_total",
        "Answers to requests that the backend was given, by status class.",
    );
    let mut durations = Family::histogram(
        "tidegate_backend_request_duration_seconds",
        "From the claim of the backend to the end of the exchange; without tunnels.",
    );
    let mut errors = Family::counter(
        "tidegate_backend_errors_total",
        "Those of them that the proxy made in the backend's stead, by error word.",
    );
    let mut connects = Family::counter(
        "tidegate_backend_connect_failures_total",
        "Connections to the backend that could not be established.",
    );
    let mut retries = Family::counter(
        "tidegate_backend_retries_total",
        "Requests that were taken from the backend and tried again.",
    );
    let mut probes = Family::counter("tidegate_backend_probes_total", "Probes, by result.");
    for BackendRow {
        labels,
        entry,
        counts,
        ..
    } in backends
    {
        for (class, count) in counts.classes.read() {
            responses.add_with(labels, "class", class, count);
        }
        durations.add_histogram(labels, counts.durations.read());
        for (word, count) in error_words.iter().zip(counts.errors.read()) {
            errors.add_with(labels, "error", word, count);
        }
        connects.add(labels, load(&counts.connect_failures));
        retries.add(labels, load(&counts.retries));
        let (good, failed) = entry.backend.probe_counts();
        probes.add_with(labels, "result", "good", good);
        probes.add_with(labels, "result", "failed", failed);
    }
    for family in [responses, durations, errors, connects, retries, probes] {
        family.write(text);
    }
}
