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
