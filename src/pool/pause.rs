//! Pauses in the model: what sets one, what ends it.
//!
//! A [`Pause`] stands in its pool and is stored with it, so it outlives the process. It ends when it is
//! asked for, by its clock (`until`, of the wall, so that a restart does not lengthen it), or with its
//! pool: a pool that leaves the configuration takes its pause along ([`super::merge`]). A reload that
//! keeps the pool leaves the pause alone. How it keeps requests out is said in [`super`].

use super::model::{Model, Refusal, UnixMillis};
use super::rollout::Pause;
use crate::spec::PoolName;

impl Model {
    /// Pauses a pool, or its pause anew: that of before is over. Since when it is paused stays.
    pub fn pause(&mut self, pool: &PoolName, pause: Pause) -> Result<(), Refusal> {
        let model = self
            .pools
            .get_mut(pool)
            .ok_or_else(|| Refusal::UnknownPool(pool.to_string()))?;
        if model.leaving {
            return Err(Refusal::PoolIsLeaving(pool.clone()));
        }
        let since = model.pause.as_ref().map_or(pause.since, |now| now.since);
        model.pause = Some(Pause { since, ..pause });
        Ok(())
    }

    /// Ends the pause of a pool, if there is one.
    pub fn resume(&mut self, pool: &PoolName) -> Option<Pause> {
        self.pools.get_mut(pool)?.pause.take()
    }

    /// Ends the pauses whose time was over by `now`; of these pools.
    pub fn resume_expired(&mut self, now: UnixMillis) -> Vec<PoolName> {
        let mut over = Vec::new();
        for (name, pool) in &mut self.pools {
            if pool.pause.take_if(|pause| pause.until <= now).is_some() {
                over.push(name.clone());
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::model::PoolModel;

    fn web() -> PoolName {
        PoolName::parse("web").unwrap()
    }

    fn pause(actor: &str, since: UnixMillis, until: UnixMillis) -> Pause {
        Pause {
            number: since,
            actor: actor.to_owned(),
            since,
            until,
        }
    }

    fn model() -> Model {
        let mut model = Model::default();
        model.pools.insert(web(), PoolModel::default());
        model
    }

    #[test]
    fn a_pause_anew_is_the_later_one_and_since_the_first() {
        let mut model = model();
        model.pause(&web(), pause("one", 10, 20)).unwrap();
        model.pause(&web(), pause("two", 15, 17)).unwrap();
        let now = model.resume(&web()).unwrap();
        assert_eq!((now.actor.as_str(), now.since, now.until), ("two", 10, 17));
        assert_eq!(model.resume(&web()), None);
    }

    #[test]
    fn a_pool_that_is_not_there_or_leaves_is_not_paused() {
        let mut model = model();
        let none = PoolName::parse("none").unwrap();
        let refusal = model.pause(&none, pause("one", 10, 20));
        assert_eq!(refusal, Err(Refusal::UnknownPool("none".to_owned())));
        model.pools.get_mut(&web()).unwrap().leaving = true;
        let refusal = model.pause(&web(), pause("one", 10, 20));
        assert_eq!(refusal, Err(Refusal::PoolIsLeaving(web())));
        assert_eq!(model.resume(&none), None);
    }

    #[test]
    fn a_pause_is_over_at_its_time_and_not_before() {
        let mut model = model();
        model.pause(&web(), pause("one", 10, 20)).unwrap();
        assert_eq!(model.resume_expired(19), []);
        assert_eq!(model.resume_expired(20), [web()]);
        assert_eq!(model.resume_expired(20), []);
    }

    #[test]
    fn a_pause_is_stored_without_its_number() {
        let mut model = model();
        model.pause(&web(), pause("one", 10, 20)).unwrap();
        let text = serde_json::to_string(&model.pools[&web()].pause).unwrap();
        assert_eq!(text, r#"{"actor":"one","since":10,"until":20}"#);
        let read: Option<Pause> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.unwrap().until, 20);
    }
}
