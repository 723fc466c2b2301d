//! What a scrape shows, and when it stops showing it.
//!
//! By subject: `names`, what the series are called; `counted`, what makes a count go up; `scrape`,
//! what is read at the scrape, and of whom.

mod counted;
mod names;
mod scrape;

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::backend::Admission;
use crate::pool::FileSettings;
use crate::pool::model::{Model, PoolModel};
use crate::pool::rollout::Pause;
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
        ..PoolModel::default()
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
