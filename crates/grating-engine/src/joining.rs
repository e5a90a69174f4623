//! Which jobs that wait share a pass with the one whose turn it is.

use grating_backend::Ops;
use grating_sched::{Plan, PoolShape};

use crate::job::Job;
use crate::worker::{Worker, joint};

/// How much longer than alone, as a share of that time, the first job may take for the others' sake: what the last
/// layer computes for them when nothing is left to read.
const DELAY: f64 = 0.25;

/// What a job may add to the pass, as a share of what it takes alone. Where computing binds it adds all of it.
const ADDED: f64 = 0.5;

/// A pass that may take more jobs along: as long as its reading binds. Weights are then read once for all of them, and
/// what they compute fits in the time in which the first would have waited. Where computing binds, a joint pass would
/// only delay the first.
pub(crate) struct Joining {
    pools: Vec<PoolShape>,
    /// How long the layers take those that have been taken, seconds.
    seconds: f64,
    /// The longest that they may take.
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
        let seconds = layers_seconds(&worker.plan(&pool).ok()?);
        Some(Joining { pools: vec![pool], seconds, limit: seconds * (1.0 + DELAY) })
    }

    /// Whether the job goes along with those that have been taken; it is one of them then.
    pub(crate) fn takes<B: Ops>(&mut self, worker: &Worker<B>, job: &Job) -> bool {
        let pool = worker.pool_of(job);
        let Ok(alone) = worker.plan(&pool) else { return false };
        self.pools.push(pool);
        // There must be memory for all prefixes at once; what they take of the time is another matter.
        let joint = worker.plan(&joint(&self.pools)).and_then(|_| worker.plan(&timed(&self.pools)));
        let seconds = joint.map_or(f64::INFINITY, |plan| layers_seconds(&plan));
        let fits =
            seconds <= self.limit && seconds - self.seconds <= ADDED * layers_seconds(&alone);
        match fits {
            true => self.seconds = seconds,
            false => _ = self.pools.pop(),
        }
        fits
    }
}

/// The candidates of all pools as a plan times them: prefixes beyond the first are computed as candidates are.
fn timed(pools: &[PoolShape]) -> PoolShape {
    let prefixes = pools.iter().skip(1).map(|pool| pool.prefix_tokens).filter(|&tokens| tokens > 0);
    let lengths = pools.iter().flat_map(|pool| pool.lengths.iter().copied()).chain(prefixes);
    PoolShape::new(lengths.collect()).with_prefix(pools.first().map_or(0, |p| p.prefix_tokens))
}

/// Without the reading of embedding rows: each job needs its own, in whatever pass, and the plan knows only the most that
/// it may take.
fn layers_seconds(plan: &Plan) -> f64 {
    plan.prediction.total_seconds - plan.prediction.embedding_seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_computed_once_and_no_candidate_follows_them_all() {
        let pool = |lengths: &[usize], prefix| PoolShape::new(lengths.to_vec()).with_prefix(prefix);
        let pools = [pool(&[3, 4], 10), pool(&[5], 7), pool(&[6], 0)];
        assert_eq!(timed(&pools), pool(&[3, 4, 5, 6, 7], 10));
        assert_eq!(joint(&pools), pool(&[3, 4, 5, 6], 17));
    }
}
