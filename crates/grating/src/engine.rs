//! The compute thread: jobs in over a bounded channel, scores and progress out over each job's own.

mod compute;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use grating_io::Checkpoint;
use grating_model::{Encoding, Logit, Model};
use rayon::ThreadPool;

use crate::error::{Error, Result};
use crate::request::{CancelToken, Progress};
use compute::Compute;

/// Requests that may wait; a caller past that blocks in `submit`, which is the back-pressure.
const QUEUE: usize = 8;
/// Progress messages that may wait; past that the oldest news is not worth waiting for.
const EVENTS: usize = 16;

/// Handle of the compute thread. Dropping it ends the thread after the jobs in the queue.
#[derive(Debug)]
pub(crate) struct Engine {
    // Order matters: the sender must go before the thread is joined (see Drop).
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// One pool of candidates to score.
pub(crate) struct Job {
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) cancel: CancelToken,
    pub(crate) events: Sender<Event>,
}

/// What the compute thread tells the caller.
pub(crate) enum Event {
    Progress(Progress),
    Done(Result<Scored>),
}

/// Scores of a pool and what they cost.
pub(crate) struct Scored {
    pub(crate) logits: Vec<Logit>,
    pub(crate) after_layer: usize,
    pub(crate) chunks: usize,
    pub(crate) bytes_read: u64,
    pub(crate) read: Duration,
    pub(crate) compute: Duration,
}

impl Engine {
    /// Starts the thread; it computes inside `pool`.
    pub(crate) fn start(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        pool: Arc<ThreadPool>,
        chunk_tokens: usize,
    ) -> Result<Self> {
        let (jobs, inbox) = bounded::<Job>(QUEUE);
        let mut compute = Compute::new(name, model, checkpoint, chunk_tokens)?;
        let thread = std::thread::Builder::new()
            .name("grating-compute".into())
            .spawn(move || serve(&mut compute, &inbox, &pool))
            .map_err(|e| Error::Threads { reason: e.to_string() })?;
        Ok(Engine { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Scores a pool, blocking; `on_progress` runs on the calling thread.
    pub(crate) fn score(
        &self,
        encodings: Vec<Encoding>,
        cancel: &CancelToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Scored> {
        let (events, inbox) = bounded(EVENTS);
        let job = Job { encodings, cancel: cancel.clone(), events };
        let jobs = self.jobs.as_ref().expect("the sender lives until drop");
        jobs.send(job).map_err(|_| Error::WorkerGone)?;
        let mut told = 0;
        loop {
            match inbox.recv() {
                // Chunks that finish together may tell of it in either order.
                Ok(Event::Progress(progress)) if progress.done > told => {
                    told = progress.done;
                    on_progress(progress);
                }
                Ok(Event::Progress(_)) => {}
                Ok(Event::Done(result)) => return result,
                Err(_) => return Err(Error::WorkerGone),
            }
        }
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

fn serve(compute: &mut Compute, inbox: &Receiver<Job>, pool: &ThreadPool) {
    for job in inbox {
        let Job { encodings, cancel, events } = job;
        let progress = |p: Progress| drop(events.try_send(Event::Progress(p)));
        // Compute keeps no state that a panic could leave half-changed: its buffers are refilled before each use.
        // The pool is entered for one job only: waiting inside it would keep a worker from the callers' encoding.
        let run = || pool.install(|| compute.run(&encodings, &cancel, progress));
        let result = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|panic| Err(Error::WorkerPanicked { message: panic_message(&*panic) }));
        // A caller that is gone needs no answer.
        drop(events.send(Event::Done(result)));
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}
