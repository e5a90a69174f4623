//! The compute thread: jobs in over a bounded channel, scores and progress out over each job's own.

mod compute;
mod pool;
mod rows;
mod shape;
mod window;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use grating_io::Checkpoint;
use grating_model::{CpuOps, Encoding, Logit, Model};
use grating_prune::Policy;
use grating_sched::{Plan, PoolShape};
use rayon::ThreadPool;

use crate::error::{Error, Result};
use crate::readouts::Readouts;
use crate::request::{CancelToken, Progress};
use crate::stats::{LayerStats, Memory};
use crate::timeline::Timeline;
use compute::Compute;

pub(crate) use compute::EngineOptions;
pub(crate) use window::Weights;

/// Requests that may wait; a caller past that blocks in `submit`, which is the back-pressure.
const QUEUE: usize = 8;
/// Progress messages that may wait; past that the oldest news is not worth waiting for.
const EVENTS: usize = 16;

/// Handle of the compute thread. Dropping it ends the thread after the jobs in the queue.
#[derive(Debug)]
pub(crate) struct Engine {
    // Order matters: the sender must go before the thread is joined (see Drop).
    jobs: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

/// One pool of candidates to select from.
pub(crate) struct Job {
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) k: usize,
    /// How to prune; `None` computes everything.
    pub(crate) policy: Option<Policy>,
    /// How scores after intermediate layers are read; `None` is the model's own head.
    pub(crate) readouts: Option<Readouts>,
    /// Whether scores after every layer are wanted. Then nothing is pruned.
    pub(crate) trace: bool,
    /// Whether the hidden states that they are read from are wanted, too.
    pub(crate) states: bool,
    pub(crate) timeline: Timeline,
    pub(crate) cancel: CancelToken,
}

enum Message {
    Select(Box<Job>, Sender<Event>),
    Plan(PoolShape, Sender<Result<Plan>>),
}

/// What the compute thread tells the caller.
enum Event {
    Progress(Progress),
    Done(Box<(Result<Scored>, Timeline)>),
}

/// What came of a pool, and what it cost. Candidates are numbered as the job's encodings.
pub(crate) struct Scored {
    /// The pruner's choice; `None` where everybody has run to the end.
    pub(crate) selected: Option<Vec<usize>>,
    /// The layer after which each candidate was decided.
    pub(crate) decided: Vec<usize>,
    /// The latest score of each candidate.
    pub(crate) logits: Vec<Logit>,
    /// Scores after every layer, `[layer][candidate]`, if they were wanted.
    pub(crate) trace: Option<Vec<Vec<f32>>>,
    /// Normalised hidden states of the scored tokens, `[layer][candidate * hidden]`, if they were wanted; not those
    /// after the last layer.
    pub(crate) states: Option<Vec<Vec<f32>>>,
    pub(crate) prefix_tokens: usize,
    pub(crate) chunks: usize,
    pub(crate) weight_bytes_read: u64,
    pub(crate) read: Duration,
    pub(crate) stall: Duration,
    pub(crate) embed: Duration,
    pub(crate) compute: Duration,
    pub(crate) operations: grating_model::OperationTimes,
    pub(crate) row_hits: u64,
    pub(crate) row_misses: u64,
    pub(crate) row_bytes_read: u64,
    pub(crate) spill_bytes_written: u64,
    pub(crate) spill_bytes_read: u64,
    pub(crate) spill_wait: Duration,
    /// Why hidden states stayed in memory that should have gone to the disk.
    pub(crate) fallen_back: Option<String>,
    /// Whether weights were read past the page cache.
    pub(crate) direct: bool,
    pub(crate) layers: Vec<LayerStats>,
    pub(crate) memory: Memory,
    pub(crate) plan: Plan,
}

impl Engine {
    /// Starts the thread; it computes inside `pool`.
    pub(crate) fn start(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        ops: CpuOps,
        pool: Arc<ThreadPool>,
        options: EngineOptions,
    ) -> Result<Self> {
        let (jobs, inbox) = bounded::<Message>(QUEUE);
        let mut compute = Compute::new(name, model, checkpoint, ops, options)?;
        let thread = std::thread::Builder::new()
            .name("grating-compute".into())
            .spawn(move || serve(&mut compute, &inbox, &pool))
            .map_err(|e| Error::Threads { reason: e.to_string() })?;
        Ok(Engine { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Selects from a pool, blocking; `on_progress` runs on the calling thread.
    pub(crate) fn select(
        &self,
        job: Job,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<(Scored, Timeline)> {
        let (events, inbox) = bounded(EVENTS);
        self.send(Message::Select(Box::new(job), events))?;
        let mut told = 0;
        loop {
            match inbox.recv() {
                // Of what is not worth waiting for, the newest may come late.
                Ok(Event::Progress(progress)) if progress.done > told => {
                    told = progress.done;
                    on_progress(progress);
                }
                Ok(Event::Progress(_)) => {}
                Ok(Event::Done(outcome)) => {
                    let (result, timeline) = *outcome;
                    return Ok((result?, timeline));
                }
                Err(_) => return Err(Error::WorkerGone),
            }
        }
    }

    /// How a pool would be run now; waits for the requests in the queue.
    pub(crate) fn plan(&self, pool: PoolShape) -> Result<Plan> {
        let (answer, inbox) = bounded(1);
        self.send(Message::Plan(pool, answer))?;
        inbox.recv().map_err(|_| Error::WorkerGone)?
    }

    fn send(&self, message: Message) -> Result<()> {
        let jobs = self.jobs.as_ref().expect("the sender lives until drop");
        jobs.send(message).map_err(|_| Error::WorkerGone)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.jobs = None; // closes the inbox, which ends the thread's loop
        if let Some(thread) = self.thread.take() {
            // A panic outside of a job has already closed the callers' channels; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

fn serve(compute: &mut Compute, inbox: &Receiver<Message>, pool: &ThreadPool) {
    for message in inbox {
        // A caller that is gone needs no answer.
        match message {
            Message::Plan(pool, answer) => drop(answer.send(compute.plan(&pool))),
            Message::Select(mut job, events) => {
                let result = select(compute, &mut job, &events, pool);
                let timeline = std::mem::replace(&mut job.timeline, Timeline::off());
                drop(events.send(Event::Done(Box::new((result, timeline)))));
            }
        }
    }
}

fn select(
    compute: &mut Compute,
    job: &mut Job,
    events: &Sender<Event>,
    pool: &ThreadPool,
) -> Result<Scored> {
    let progress = |p: Progress| drop(events.try_send(Event::Progress(p)));
    // The pool is entered for one job only: waiting inside it would keep a worker from the callers' encoding.
    let run = || pool.install(|| compute.run(job, &progress));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => {
            // Nothing that a panic may have left half-done is used again.
            compute.recover();
            Err(Error::WorkerPanicked { message: panic_message(&*panic) })
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}
