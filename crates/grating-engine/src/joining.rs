//! Which jobs that wait share a pass with the one whose turn it is.

use grating_backend::Ops;
use grating_sched::{Plan, PoolShape};

use crate::job::Job;
use crate::worker::{Worker, joint};

/// How much longer than alone, as a share of that time, the first job may take for the others' sake.
const DELAY: f64 = 0.05;

/// A pass that may take more jobs along: as long as its reading binds. Weights are then read once for all of them, and
/// what they compute fits in the time in which the first would have waited. Where computing binds, a joint pass would
/// only delay the first.
pub(crate) struct Joining {
    pools: Vec<PoolShape>,
    /// The longest that its layers may take, seconds.
    limit: f64,
}

impl Joining {
    /// With the first job alone; nothing where that is all that can be: passes are not to be joined, rates of this
    /// machine are not known yet, or the job's own plan is none.
    pub(crate) fn new<B: Ops>(worker: &Worker<B>, first: &Job) -> Option<Self> {
        let rates = &worker.machine;
        let known = rates.disk_to_host.measured && rates.flops_measured;
        if !worker.options.joint_passes || !known {
            return None;
        }
        let pool = worker.pool_of(first);
        let alone = layers_seconds(&worker.plan(&pool).ok()?);
        Some(Joining { pools: vec![pool], limit: alone * (1.0 + DELAY) })
    }

    /// Whether the job goes along with those that have been taken; it is one of them then.
    pub(crate) fn takes<B: Ops>(&mut self, worker: &Worker<B>, job: &Job) -> bool {
        self.pools.push(worker.pool_of(job));
        let plan = worker.plan(&joint(&self.pools));
        let fits = plan.is_ok_and(|plan| layers_seconds(&plan) <= self.limit);
        if !fits {
            self.pools.pop();
        }
        fits
    }
}

/// Without the reading of embedding rows: each job needs its own, in whatever pass, and the plan knows only the most that
/// it may take.
fn layers_seconds(plan: &Plan) -> f64 {
    plan.prediction.total_seconds - plan.prediction.embedding_seconds
}
