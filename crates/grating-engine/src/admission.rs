//! When a job may begin: memory for it within the budget, beside the other engines of the process.

use std::sync::Arc;

use grating_backend::Ops;
use grating_sched::{Plan, PoolShape};

use crate::account::Occupied;
use crate::cancel::Stop;
use crate::error::Result;
use crate::meter::current_rss_bytes;
use crate::shape::floor_bytes;
use crate::worker::Worker;

impl<B: Ops> Worker<B> {
    /// Plans a job and takes the memory that the plan says; waits until the other engines have left enough.
    ///
    /// Engines without a budget take what they take, and the others know of it.
    pub(crate) fn admit(&mut self, pool: &PoolShape, stop: &Stop) -> Result<Plan> {
        let share = Arc::clone(&self.share);
        if self.machine.host.budget.is_none() {
            let plan = self.plan_beside(pool, share.occupied().now)?;
            share.hold(needed(&plan));
            return Ok(plan);
        }
        let claim = share.claim(current_rss_bytes());
        if !claim.is_first() {
            // What waits keeps nothing: those before it may need that.
            self.give_back();
            claim.wait_first(stop)?;
        }
        loop {
            let occupied = claim.occupied();
            // What does not fit then will not fit by waiting.
            let roomy = self.plan_beside(pool, occupied.least)?;
            let plan = match occupied.now == occupied.least {
                true => Some(roomy),
                false => self.plan_now(pool, occupied, &roomy),
            };
            match plan {
                Some(plan) if claim.commit(occupied.now, needed(&plan)) => return Ok(plan),
                Some(_) => {}
                None => claim.wait_for_less(occupied, stop)?,
            }
        }
    }

    /// A plan beside what the others hold now; none where it is worth asking them for more.
    ///
    /// What idle engines keep saves them reading it again. It must not cost this one more than it would take to read
    /// all of its own.
    fn plan_now(&self, pool: &PoolShape, occupied: Occupied, roomy: &Plan) -> Option<Plan> {
        let plan = self.plan_beside(pool, occupied.now).ok()?;
        let slower = plan.prediction.total_seconds > roomy.prediction.first_total_seconds;
        (!(occupied.idle && slower)).then_some(plan)
    }

    /// How a pool would be run if the other engines of the process were idle.
    pub(crate) fn plan(&self, pool: &PoolShape) -> Result<Plan> {
        self.plan_beside(pool, self.share.occupied().least)
    }

    /// How a pool would be run where so many bytes are occupied by others.
    pub(crate) fn plan_beside(&self, pool: &PoolShape, occupied: u64) -> Result<Plan> {
        let mut machine = self.machine;
        machine.host.base = machine.host.base.saturating_add(occupied);
        Ok(grating_sched::plan(&self.shape_for(pool), pool, &machine, &self.options.settings)?)
    }

    /// What it keeps between jobs.
    pub(crate) fn kept(&self) -> u64 {
        let window = if self.window.is_some() { self.window_bytes } else { 0 };
        let spill = if self.spill.is_some() { self.spill_bytes } else { 0 };
        floor_bytes(&self.model, &self.shape, &*self.ops)
            + window
            + spill
            + self.rows.memory_bytes()
    }

    /// Gives back what it keeps for the next job, which reads it again.
    pub(crate) fn give_back(&mut self) {
        self.recover();
        self.share.rest(self.kept());
    }

    /// Another engine has asked for what this one keeps.
    pub(crate) fn give_back_if_asked(&mut self) {
        if self.share.is_asked() {
            self.give_back();
        }
    }
}

/// What a job takes by its plan, beyond what is taken anyway.
fn needed(plan: &Plan) -> u64 {
    plan.ledger.total().saturating_sub(plan.ledger.base)
}

#[cfg(test)]
mod tests {
    use grating_cpu::CpuOps;
    use grating_sched::WindowSize;

    use super::*;
    use crate::account::{Account, Registration, Share};
    use crate::error::EngineError;
    use crate::testing::{worker, worker_on};

    const GIB: u64 = 1 << 30;

    /// Another engine, which holds so much and gives it back when it is asked.
    fn other(account: &Arc<Account>, holds: u64) -> Share {
        let (resident, model, threads, floor, gives_back) = (0, 0, 0, 0, true);
        let ask = Arc::new(|| ());
        let share =
            account.register(Registration { resident, model, threads, floor, gives_back, ask });
        share.rest(holds);
        share
    }

    fn bound(account: &Arc<Account>) -> Worker<CpuOps> {
        worker_on(account, |options| options.machine.host.budget = Some(GIB))
    }

    fn pool() -> PoolShape {
        PoolShape::uniform(4, 16)
    }

    fn cancelled() -> Stop {
        let stop = Stop::default();
        stop.cancel.cancel();
        stop
    }

    #[test]
    fn a_job_holds_what_its_plan_says_and_what_is_kept_after_it() {
        let account = Arc::default();
        let (mut worker, other) = (bound(&account), other(&account, 0));
        let before = other.occupied().now;
        let kept = worker.kept();
        let plan = worker.admit(&pool(), &Stop::default()).unwrap();
        assert_eq!(other.occupied().now - (before - kept), needed(&plan));
        worker.share.rest(worker.kept());
        assert_eq!(other.occupied().now, before);
    }

    #[test]
    fn without_a_budget_nobody_is_waited_for() {
        let account = Arc::default();
        let mut worker = worker_on(&account, |_| ());
        let other = other(&account, 1 << 50);
        let _claim = other.claim(None);
        worker.admit(&pool(), &cancelled()).unwrap();
    }

    #[test]
    fn what_waits_in_line_keeps_nothing_and_leaves_when_it_is_cancelled() {
        let account = Arc::default();
        let mut worker = bound(&account);
        let other = other(&account, 0);
        let claim = other.claim(None);
        assert!(worker.window.is_some(), "layer 0 is read before the first job comes");
        let outcome = worker.admit(&pool(), &cancelled());
        assert!(matches!(outcome, Err(EngineError::Cancelled)), "{outcome:?}");
        assert!(worker.window.is_none());
        drop(claim);
        worker.admit(&pool(), &cancelled()).unwrap();
    }

    #[test]
    fn what_cannot_fit_however_long_it_waits_is_refused_at_once() {
        let account = Arc::default();
        let mut worker = worker_on(&account, |options| options.machine.host.budget = Some(1));
        let _other = other(&account, GIB);
        let outcome = worker.admit(&pool(), &Stop::default());
        assert!(matches!(outcome, Err(EngineError::Plan(_))), "{outcome:?}");
    }

    #[test]
    fn it_gives_back_when_another_engine_asks_and_not_before() {
        let account = Arc::default();
        let mut worker = bound(&account);
        let other = other(&account, 0);
        worker.give_back_if_asked();
        assert!(worker.window.is_some());
        let before = other.occupied();
        std::thread::scope(|scope| {
            let less = scope.spawn(|| {
                let claim = other.claim(None);
                claim.wait_for_less(claim.occupied(), &Stop::default()).unwrap();
                claim.occupied()
            });
            while !worker.share.is_asked() {
                std::thread::yield_now();
            }
            worker.give_back_if_asked();
            let after = less.join().unwrap();
            assert!(worker.window.is_none() && !worker.share.is_asked());
            assert!(after.now < before.now && after.now == after.least && !after.idle);
        });
    }

    #[test]
    fn idle_engines_are_asked_where_a_plan_beside_them_costs_more_than_reading_all_anew() {
        let mut worker = worker(|options| options.settings.window = WindowSize::Auto);
        worker.machine.host.budget = Some(GIB);
        let pool = PoolShape::uniform(200, 100);
        let roomy = worker.plan_beside(&pool, 0).unwrap();
        let (mut slow, mut quick) = (0, 0);
        // From where nothing is left to where nothing is taken.
        for taken in (0..=1000).map(|share| GIB / 1000 * share) {
            let plan = worker.plan_beside(&pool, taken).ok();
            let beside =
                |idle| worker.plan_now(&pool, Occupied { now: taken, least: 0, idle }, &roomy);
            assert_eq!(beside(false), plan, "who computes is not asked: any plan is taken");
            let Some(plan) = plan else {
                assert_eq!(beside(true), None);
                continue;
            };
            let costs_more = plan.prediction.total_seconds > roomy.prediction.first_total_seconds;
            assert_eq!(beside(true).is_none(), costs_more);
            *(if costs_more { &mut slow } else { &mut quick }) += 1;
        }
        assert!(quick > 0 && slow > 0, "{slow} slow ones, {quick} quick ones");
    }
}
