//! What operations show: the status of pools and backends, and the common parts of an answer.

use std::time::Duration;

use super::{Control, unix_millis};
use crate::backend::{Backend, ExchangeReport, Generation};
use crate::drain::{BLOCKING_LISTED_MAX, Drain};
use crate::outcome::Outcome;
use crate::pool::model::{BackendRef, Member, Refusal};
use crate::pool::{Entry, Pool};
use crate::report::{
    Answer, BackendStatus, DrainStatus, ExchangeStatus, PauseStatus, PoolStatus, ProbeStatus,
    Serving,
};
use crate::spec::PoolName;

impl Control {
    /// All pools, by name.
    pub fn status(&self) -> Vec<PoolStatus> {
        let snapshot = self.pools.load_full();
        let pools = snapshot.pools();
        pools.map(|pool| self.status_of(pool)).collect()
    }

    /// One pool.
    pub fn pool_status(&self, pool: &PoolName) -> Result<PoolStatus, Box<Answer>> {
        let snapshot = self.pools.load_full();
        match snapshot.pool(pool) {
            Some(pool) => Ok(self.status_of(pool)),
            None => {
                let refusal = Refusal::UnknownPool(pool.to_string());
                Err(Box::new(self.stopped(refusal.into(), pool, None)))
            }
        }
    }

    /// One backend.
    pub fn backend_status(&self, pool: &PoolName, backend: &BackendRef) -> Answer {
        match self.locate(pool, backend) {
            Ok(member) => {
                let name = format!("{pool}/{}", backend.id);
                self.answer(Outcome::Done, name, pool, member.generation)
            }
            Err(refusal) => self.stopped(refusal.into(), pool, Some(backend)),
        }
    }

    /// The member that a reference names, as it is published. For those who only look: it takes no
    /// lock, so nobody who looks waits for a change that is being stored.
    pub(super) fn locate(&self, pool: &PoolName, backend: &BackendRef) -> Result<Member, Refusal> {
        let snapshot = self.pools.load();
        let pool = snapshot
            .pool(pool)
            .ok_or_else(|| Refusal::UnknownPool(pool.to_string()))?;
        let members = pool.entries.iter().map(|entry| &entry.member);
        let member = backend.pick(members).cloned();
        member.ok_or_else(|| Refusal::UnknownBackend {
            pool: pool.name.to_string(),
            backend: backend.to_string(),
        })
    }

    /// An answer about one generation, with everything filled in as it stands now.
    pub(super) fn answer(
        &self,
        outcome: Outcome,
        message: impl Into<String>,
        pool: &PoolName,
        generation: Generation,
    ) -> Answer {
        let mut answer = Answer::new(outcome, message);
        self.fill(&mut answer, pool, Some(generation));
        answer
    }

    /// An answer about a pool.
    pub(super) fn pool_answer(
        &self,
        outcome: Outcome,
        message: impl Into<String>,
        pool: &PoolName,
    ) -> Answer {
        let mut answer = Answer::new(outcome, message);
        self.describe(&mut answer, pool, None);
        answer
    }

    /// Fills in what can be said of a backend that was asked for by reference.
    pub(super) fn describe(
        &self,
        answer: &mut Answer,
        pool: &PoolName,
        backend: Option<&BackendRef>,
    ) {
        let member = backend.and_then(|backend| self.locate(pool, backend).ok());
        let generation = member.map(|member| member.generation);
        self.fill(answer, pool, generation);
    }

    fn status_of(&self, pool: &Pool) -> PoolStatus {
        let backends = pool.entries.iter().map(|entry| backend_status(pool, entry));
        PoolStatus {
            name: pool.name.to_string(),
            balance: pool.settings.balance.as_str().to_owned(),
            eligible: pool.eligible(),
            held: pool.hold.len(),
            leaving: pool.leaving,
            paused: pool.pause.as_ref().map(|pause| PauseStatus {
                actor: pause.actor.clone(),
                since_ms: pause.since,
                until_ms: pause.until,
            }),
            rollout: {
                let under_way = pool.rollout.as_ref();
                under_way.map(|rollout| self.under_way_status(&pool.name, rollout))
            },
            backends: backends.collect(),
        }
    }

    fn fill(&self, answer: &mut Answer, pool: &PoolName, generation: Option<Generation>) {
        let snapshot = self.pools.load();
        let Some(pool) = snapshot.pool(pool) else {
            return;
        };
        answer.serving = serving(pool);
        let Some(generation) = generation else {
            return;
        };
        answer.generation = Some(generation);
        if let Some(entry) = pool.entry(generation) {
            answer.backend = Some(backend_status(pool, entry));
            answer.safe_to_kill = entry.backend.reading().is_sealed();
        }
        answer.drain = self.drain_of(generation).map(|drain| drain_status(&drain));
    }
}

/// What the last probe of a backend that is not healthy saw, in words.
pub(super) fn last_probe(backend: &Backend) -> String {
    match backend.last_probe().map(|report| report.result) {
        None => "no probe has ended".to_owned(),
        Some(Ok(seen)) => format!("last probe: {seen}, but not enough in a row"),
        Some(Err(cause)) => format!("last probe: {cause}"),
    }
}

fn serving(pool: &Pool) -> Vec<Serving> {
    let eligible = pool.entries.iter().filter(|entry| entry.is_eligible());
    eligible
        .map(|entry| Serving {
            id: entry.member.id.to_string(),
            generation: entry.member.generation,
            address: entry.member.address.to_string(),
        })
        .collect()
}

fn backend_status(pool: &Pool, entry: &Entry) -> BackendStatus {
    let member = &entry.member;
    let reading = entry.backend.reading();
    let connections = entry.backend.connections();
    BackendStatus {
        pool: pool.name.to_string(),
        id: member.id.to_string(),
        generation: member.generation,
        address: member.address.to_string(),
        origin: member.origin.as_str().to_owned(),
        weight: member.weight.as_u32(),
        intent: member.intent.as_str().to_owned(),
        health: entry.backend.health().as_str().to_owned(),
        eligible: entry.is_eligible(),
        drained: reading.is_sealed(),
        requests: reading.requests(),
        tunnels: reading.tunnels(),
        connections: Some(u32::try_from(connections.total()).unwrap_or(u32::MAX)),
        since_ms: member.since,
        last_probe: probe_status(&entry.backend),
    }
}

fn probe_status(backend: &Backend) -> Option<ProbeStatus> {
    let report = backend.last_probe()?;
    let good = report.result.is_ok();
    Some(ProbeStatus {
        good,
        detail: report.result.unwrap_or_else(|cause| cause),
        at_ms: unix_millis(report.at),
        took_ms: millis_f64(report.took),
    })
}

pub(super) fn drain_status(drain: &Drain) -> DrainStatus {
    let cuts = drain.cuts();
    let blocking = drain.backend().exchanges();
    let reports = blocking
        .iter()
        .take(BLOCKING_LISTED_MAX)
        .map(|one| one.report());
    DrainStatus {
        begun_ms: unix_millis(drain.begun_at()),
        took_ms: millis_f64(drain.took()),
        cut_requests: cuts.requests,
        cut_tunnels: cuts.tunnels,
        cut: cuts.listed.into_iter().map(exchange_status).collect(),
        blocked_by: reports.map(exchange_status).collect(),
    }
}

pub(super) fn exchange_status(report: ExchangeReport) -> ExchangeStatus {
    ExchangeStatus {
        kind: if report.is_tunnel {
            "tunnel"
        } else {
            "request"
        }
        .to_owned(),
        method: report.method,
        path: report.path,
        client: report.client.map(|client| client.to_string()),
        age_ms: millis(report.age),
        bytes_up: report.bytes_up,
        bytes_down: report.bytes_down,
        idle_ms: millis(report.idle),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn millis_f64(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
