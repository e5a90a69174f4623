//! Several jobs in one pass: what they share, and what stays each one's own.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use grating_backend::{BackendError, Ops};
use grating_engine::{CancelToken, Deadline, Engine, EngineError, Job, JobOutput, Ticket};
use grating_model::{Encoding, ModelError};
use grating_prune::Policy;
use grating_sched::{PoolShape, WindowSize};

use super::{Subject, assert_near, logits, select};
use crate::hooked::{BeforeBlock, Hooked};

/// Bytes per second that the disk is taken for: reading binds whatever is computed.
const SLOW: f64 = 1e4;

/// An engine whose jobs share a pass whenever they wait together, which can be stopped before each block.
struct Shared {
    engine: Engine,
    encodings: Vec<Encoding>,
    before_block: BeforeBlock,
    /// Blocks of a pass.
    blocks: usize,
}

/// A job that is held up before its first block.
struct Held {
    ticket: Ticket,
    go: Sender<()>,
}

impl Shared {
    fn new<B: Ops>(backend: &(dyn Fn() -> B + Sync)) -> Self {
        let subject = Subject::new("qwen3-tied-f32", backend);
        let before_block = BeforeBlock::default();
        let hooked = Hooked { inner: backend(), before_block: before_block.clone() };
        let (engine, encodings) = subject.engine_on(hooked, |options| {
            options.settings.window = WindowSize::Slots(1);
            options.settings.chunk_tokens = Some(60);
            // So little is read that no rate could be learned of it.
            options.machine.disk_to_host.bytes_per_second = SLOW;
            options.machine.disk_to_host.measured = true;
            options.machine.flops_measured = true;
        });
        let blocks = engine.plan(PoolShape::uniform(4, 32)).unwrap().layers;
        Shared { engine, encodings, before_block, blocks }
    }

    /// Jobs of their own lengths: in full, pruned, and with everything that can be asked for.
    fn job(&self, k: usize) -> Job {
        let mut job = Job::new(self.encodings[..4 + k % 3].to_vec(), k);
        job.policy = (k == 2).then(|| Policy::paper(0.0));
        (job.trace, job.states) = (k == 3, k == 3);
        job
    }

    /// What becomes of [`Self::job`] in a pass of its own.
    fn alone(&self, k: usize) -> JobOutput {
        let alone = select(&self.engine, self.job(k)).unwrap();
        assert_eq!(alone.costs.jobs, 1);
        alone
    }

    /// A pass that waits before its first block until it is let go; then `during` before block `block` of the next one.
    fn hold(
        &self,
        block: usize,
        mut during: impl FnMut() -> Result<(), BackendError> + Send + 'static,
    ) -> Held {
        let ((go, may_go), (began, begins)) = (channel(), channel());
        let (mut at, next) = (0, self.blocks + block);
        self.before_block.set(move || {
            at += 1;
            match at - 1 {
                0 => {
                    began.send(()).unwrap();
                    may_go.recv().unwrap();
                    Ok(())
                }
                at if at == next => during(),
                _ => Ok(()),
            }
        });
        let ticket = self.engine.submit(self.job(1)).unwrap();
        begins.recv().unwrap();
        Held { ticket, go }
    }

    /// Jobs that come while another is computed, and so are in one pass; `during` happens before its block `block`.
    fn submit<const N: usize>(
        &self,
        jobs: [Job; N],
        block: usize,
        during: impl FnMut() -> Result<(), BackendError> + Send + 'static,
    ) -> [Ticket; N] {
        let held = self.hold(block, during);
        let tickets = jobs.map(|job| self.engine.submit(job).unwrap());
        held.let_go();
        tickets
    }
}

impl Held {
    fn let_go(self) {
        self.go.send(()).unwrap();
        let scored = self.ticket.wait(|_| ()).unwrap();
        assert_eq!(scored.costs.jobs, 1, "nobody waited when it began");
    }
}

/// The same answer as alone: selection and funnel, and all that is read to the bound.
#[track_caller]
fn assert_same(joint: &JobOutput, alone: &JobOutput, bound: f32) {
    assert_near(&logits(joint), &logits(alone), bound, "in a joint pass");
    let verdicts =
        |of: &JobOutput| (of.selected.clone(), of.decided.clone(), of.read_after.clone());
    assert_eq!(verdicts(joint), verdicts(alone));
    let funnel = |of: &JobOutput| -> Vec<_> {
        let layers = of.costs.layers.iter();
        layers
            .map(|l| (l.layer, l.live, l.accepted.clone(), l.dropped.clone(), l.deferred))
            .collect()
    };
    assert_eq!(funnel(joint), funnel(alone));
    assert_eq!(joint.prefix_tokens, alone.prefix_tokens);
    for (joint, alone) in [(&joint.trace, &alone.trace), (&joint.states, &alone.states)] {
        assert_eq!(joint.as_ref().map(Vec::len), alone.as_ref().map(Vec::len));
        let layers = joint.iter().flatten().zip(alone.iter().flatten());
        layers.for_each(|(joint, alone)| assert_near(joint, alone, bound, "after each layer"));
    }
}

/// Where reading binds, jobs that wait share a pass: weights are read once for all of them, each has the scores, traces and
/// figures that it has alone, and one that is cancelled ends alone.
pub(super) fn jobs_share_a_pass_where_reading_binds<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    let shared = Shared::new(backend);
    let alone: Vec<JobOutput> = (1..4).map(|k| shared.alone(k)).collect();
    assert!(alone[2].trace.is_some() && alone[2].states.is_some());
    let once = alone[0].costs.weight_bytes_read;
    let cancelled = CancelToken::new();
    let mut in_the_middle = shared.job(3);
    in_the_middle.cancel = cancelled.clone();
    let jobs = [shared.job(1), in_the_middle, shared.job(2), shared.job(3)];
    let [one, middle, two, three] = shared.submit(jobs, 1, move || {
        cancelled.cancel();
        Ok(())
    });
    for (ticket, alone) in [one, two, three].into_iter().zip(&alone) {
        let joint = ticket.wait(|_| ()).unwrap();
        assert_eq!(joint.costs.jobs, 4);
        // Once for all of them, and what is read ahead for the next pass.
        let read = joint.costs.weight_bytes_read;
        assert!(read < 2 * once, "{read} bytes, {once} alone");
        assert_same(&joint, alone, bound);
    }
    assert!(matches!(middle.wait(|_| ()), Err(EngineError::Cancelled)));
}

/// A panic or an error of the backend ends every job of the pass, each with an error that says which, and nothing else.
pub(super) fn what_fails_in_a_pass_ends_its_jobs_and_the_worker_serves_on<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
) {
    let shared = Shared::new(backend);
    let alone = shared.alone(1);
    let panics: fn() -> Result<(), BackendError> = || panic!("the device is on fire");
    let fails: fn() -> _ = || Err(BackendError::OutOfMemory { bytes: 7 });
    for (during, panicked) in [(panics, true), (fails, false)] {
        let tickets = shared.submit([1, 2, 3].map(|k| shared.job(k)), 2, during);
        for ticket in tickets {
            match ticket.wait(|_| ()) {
                Err(EngineError::WorkerPanicked { message }) if panicked => {
                    assert_eq!(message, "the device is on fire");
                }
                Err(EngineError::Model { model, reason }) if !panicked => {
                    assert_eq!(model, "qwen3-tied-f32");
                    let ModelError::Backend(error) = *reason else { panic!("{reason}") };
                    assert_eq!(error, BackendError::OutOfMemory { bytes: 7 });
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(shared.engine.waiting().running, 0);
        assert_same(&shared.alone(1), &alone, 0.0);
        // And a joint one.
        let tickets = shared.submit([1, 1].map(|k| shared.job(k)), 0, || Ok(()));
        let [first, _] = tickets.map(|ticket| ticket.wait(|_| ()).unwrap());
        assert_eq!(first.costs.jobs, 2);
    }
}

/// A deadline that passes ends its job, while it waits and while it is computed with others, and nobody else's.
pub(super) fn deadlines_end_jobs_that_wait_and_jobs_that_are_computed<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    let shared = Shared::new(backend);
    let alone = shared.alone(1);
    let due_in = |allowed| {
        let (mut job, deadline) = (shared.job(3), Deadline::after(allowed));
        job.deadline = Some(deadline);
        (job, deadline)
    };
    let was_late = |ticket: Ticket, after| match ticket.wait(|_| ()) {
        Err(EngineError::DeadlineExceeded { allowed }) => assert_eq!(allowed, after),
        other => panic!("{other:?}"),
    };
    // While it waits: it is answered although the job before it is not.
    let held = shared.hold(0, || Ok(()));
    let allowed = Duration::from_millis(2);
    let (late, behind) = (due_in(allowed).0, shared.job(1));
    let [late, behind] = [late, behind].map(|job| shared.engine.submit(job).unwrap());
    was_late(late, allowed);
    assert_eq!(shared.engine.waiting().jobs.len(), 1);
    held.let_go();
    assert_same(&behind.wait(|_| ()).unwrap(), &alone, bound);
    // While it is computed: the time that it needs to get there is the machine's matter.
    for allowed in (4..).map(|power| Duration::from_millis(1 << power)) {
        let (late, deadline) = due_in(allowed);
        let [beside, late] = shared.submit([shared.job(1), late], 1, move || {
            while !deadline.has_passed() {
                std::thread::yield_now();
            }
            Ok(())
        });
        was_late(late, allowed);
        let beside = beside.wait(|_| ()).unwrap();
        assert_same(&beside, &alone, bound);
        if beside.costs.jobs == 2 {
            return;
        }
    }
}
