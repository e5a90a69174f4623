//! Which jobs that wait share a pass with the one that is next.

use std::sync::Arc;

use grating_backend::Ops;
use grating_sched::{Plan, PoolShape};

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
    pools: Vec<Arc<PoolShape>>,
    /// How long the layers take those that have been taken, seconds.
    seconds: f64,
    /// The longest that they may take.
    limit: f64,
}

impl Joining {
    /// With the first job alone; nothing where that is all that can be: passes are not to be joined, rates of this
    /// machine are not known yet, or the job's own plan is none.
    pub(crate) fn new<B: Ops>(worker: &Worker<B>, first: &Arc<PoolShape>) -> Option<Self> {
        let rates = &worker.machine;
        let known = rates.disk_to_host.measured && rates.flops_measured;
        if !worker.options.joint_passes || !known {
            return None;
        }
        let seconds = layers_seconds(&worker.plan(first).ok()?);
        let limit = seconds * (1.0 + DELAY);
        Some(Joining { pools: vec![Arc::clone(first)], seconds, limit })
    }

    /// The pass with one job more; nothing where that one does not go along with those that have been taken.
    pub(crate) fn with<B: Ops>(&self, worker: &Worker<B>, pool: Arc<PoolShape>) -> Option<Self> {
        let alone = worker.plan(&pool).ok()?;
        let pools: Vec<_> = self.pools.iter().cloned().chain([pool]).collect();
        // There must be memory for all prefixes at once; what they take of the time is another matter.
        worker.plan(&joint(&pools)).ok()?;
        let seconds = layers_seconds(&worker.plan(&timed(&pools)).ok()?);
        let fits =
            seconds <= self.limit && seconds - self.seconds <= ADDED * layers_seconds(&alone);
        fits.then_some(Joining { pools, seconds, limit: self.limit })
    }
}

/// The candidates of all pools as a plan times them: prefixes beyond the first are computed as candidates are.
fn timed(pools: &[Arc<PoolShape>]) -> PoolShape {
    let prefixes = pools.iter().skip(1).map(|pool| pool.prefix_tokens).filter(|&tokens| tokens > 0);
    let prefixes = PoolShape::new(prefixes.collect());
    let all = pools.iter().map(|pool| &**pool).chain([&prefixes]);
    PoolShape::joined(all, pools.first().map_or(0, |p| p.prefix_tokens))
}

/// Without the reading of embedding rows: each job needs its own, in whatever pass, and the plan knows only the most that
/// it may take.
fn layers_seconds(plan: &Plan) -> f64 {
    plan.prediction.total_seconds - plan.prediction.embedding_seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use grating_cpu::CpuOps;
    use grating_sched::WindowSize;

    use crate::testing::worker;

    fn pool() -> Arc<PoolShape> {
        Arc::new(PoolShape::uniform(10, 20))
    }

    /// A worker that takes so long to read the layers for each second in which it computes [`pool`] with them.
    fn reading(seconds: f64) -> Worker<CpuOps> {
        let mut worker = worker(|options| options.settings.window = WindowSize::Slots(2));
        let times = worker.plan(&pool()).unwrap().prediction;
        let machine = &mut worker.machine;
        machine.disk_to_host.bytes_per_second *=
            times.read_seconds / (seconds * times.compute_seconds);
        (machine.disk_to_host.measured, machine.flops_measured) = (true, true);
        worker
    }

    /// Jobs of a pass, where any number of them waits.
    fn jobs(worker: &Worker<CpuOps>) -> usize {
        let mut joining = Joining::new(worker, &pool()).unwrap();
        while let Some(more) = joining.with(worker, pool()) {
            assert_eq!(more.pools.len(), joining.pools.len() + 1);
            assert!(more.seconds <= more.limit && more.limit == joining.limit);
            joining = more;
        }
        joining.pools.len()
    }

    #[test]
    fn the_longer_reading_takes_the_more_jobs_go_along_and_never_any_number() {
        let jobs = [0.1, 10.0, 40.0, 160.0].map(|seconds| jobs(&reading(seconds)));
        assert_eq!(jobs[0], 1, "computing binds");
        // Each computes in the time in which the first would have waited, and the last layer's work delays it.
        assert!(jobs.is_sorted_by(|a, b| 2 * a < *b) && jobs[3] < 160, "{jobs:?}");
    }

    #[test]
    fn passes_are_not_joined_by_guesses_nor_where_nobody_wants_that() {
        let mut worker = reading(10.0);
        assert!(Joining::new(&worker, &pool()).is_some());
        worker.options.joint_passes = false;
        assert!(Joining::new(&worker, &pool()).is_none());
        worker.options.joint_passes = true;
        worker.machine.flops_measured = false;
        assert!(Joining::new(&worker, &pool()).is_none());
    }

    #[test]
    fn every_prefix_is_computed_once_and_no_candidate_follows_them_all() {
        let pool = |lengths: &[usize], prefix| PoolShape::new(lengths.to_vec()).with_prefix(prefix);
        let pools = [pool(&[3, 4], 10), pool(&[5], 7), pool(&[6], 0)].map(Arc::new);
        assert_eq!(timed(&pools), pool(&[3, 4, 5, 6, 7], 10));
        assert_eq!(joint(&pools), pool(&[3, 4, 5, 6], 17));
    }
}
