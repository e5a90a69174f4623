//! The compute thread: jobs in over a bounded channel, scores and progress out over each job's own.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use grating_io::Checkpoint;
use grating_model::{CpuOps, Model};
use grating_sched::{Plan, PoolShape};
use rayon::ThreadPool;

use crate::error::{EngineError, Result};
use crate::job::{Job, Scored};
use crate::options::EngineOptions;
use crate::progress::Progress;
use crate::timeline::Timeline;
use crate::worker::Worker;

/// Jobs that may wait; a caller past that blocks in [`Engine::select`], which is the back-pressure.
const QUEUE: usize = 8;
/// Progress messages that may wait; past that the oldest news is not worth waiting for.
const EVENTS: usize = 16;

/// Handle of the compute thread. Dropping it ends the thread after the jobs in the queue.
#[derive(Debug)]
pub struct Engine {
    // Order matters: the sender must go before the thread is joined (see Drop).
    jobs: Option<Arc<Sender<Message>>>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Select(Box<Job>, Timeline, Sender<Event>),
    Plan(PoolShape, Sender<Result<Plan>>),
    /// Another engine needs the memory that this one keeps between jobs.
    GiveBack,
}

/// What the compute thread tells the caller.
enum Event {
    Progress(Progress),
    Done(Box<Result<Scored>>),
}

impl Engine {
    /// Starts the thread; it computes inside `pool`. `name` is the model's, for errors.
    ///
    /// # Errors
    /// When stem or head cannot be read, or the system gives no thread.
    pub fn start(
        name: String,
        model: Model,
        checkpoint: Checkpoint,
        ops: CpuOps,
        pool: Arc<ThreadPool>,
        options: EngineOptions,
    ) -> Result<Self> {
        let (jobs, inbox) = bounded::<Message>(QUEUE);
        let jobs = Arc::new(jobs);
        // Not a sender of its own: the inbox closes with the engine. One that is full has jobs, who take their turn.
        let asked = Arc::downgrade(&jobs);
        let ask = move || {
            if let Some(jobs) = asked.upgrade() {
                _ = jobs.try_send(Message::GiveBack);
            }
        };
        let mut worker = Worker::new(name, model, checkpoint, ops, options, Arc::new(ask))?;
        let thread = std::thread::Builder::new()
            .name("grating-compute".into())
            .spawn(move || serve(&mut worker, &inbox, &pool))
            .map_err(|e| EngineError::Threads { reason: e.to_string() })?;
        Ok(Engine { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Selects from a pool, blocking; `on_progress` runs on the calling thread.
    ///
    /// # Errors
    /// Whatever ended the job; the next one is served.
    pub fn select(&self, job: Job, mut on_progress: impl FnMut(Progress)) -> Result<Scored> {
        let (events, inbox) = bounded(EVENTS);
        let timeline = if job.timeline { Timeline::recording() } else { Timeline::off() };
        self.send(Message::Select(Box::new(job), timeline, events))?;
        let mut reported = 0;
        loop {
            match inbox.recv() {
                // Of what is not worth waiting for, the newest may come late.
                Ok(Event::Progress(progress)) if progress.done > reported => {
                    reported = progress.done;
                    on_progress(progress);
                }
                Ok(Event::Progress(_)) => {}
                Ok(Event::Done(result)) => return *result,
                Err(_) => return Err(EngineError::WorkerGone),
            }
        }
    }

    /// How a pool would be run now; waits for the jobs in the queue.
    ///
    /// # Errors
    /// [`EngineError::Plan`], or that the thread is gone.
    pub fn plan(&self, pool: PoolShape) -> Result<Plan> {
        let (answer, inbox) = bounded(1);
        self.send(Message::Plan(pool, answer))?;
        inbox.recv().map_err(|_| EngineError::WorkerGone)?
    }

    fn send(&self, message: Message) -> Result<()> {
        let jobs = self.jobs.as_ref().expect("the sender lives until drop");
        jobs.send(message).map_err(|_| EngineError::WorkerGone)
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

fn serve(worker: &mut Worker, inbox: &Receiver<Message>, pool: &ThreadPool) {
    for message in inbox {
        // A caller that is gone needs no answer.
        match message {
            Message::Plan(pool, answer) => drop(answer.send(worker.plan(&pool))),
            Message::GiveBack => worker.give_back_if_asked(),
            Message::Select(mut job, mut timeline, events) => {
                let result = select(worker, &mut job, &mut timeline, &events, pool);
                let result = result.map(|scored| Scored { timeline, ..scored });
                drop(events.send(Event::Done(Box::new(result))));
            }
        }
    }
}

fn select(
    worker: &mut Worker,
    job: &mut Job,
    timeline: &mut Timeline,
    events: &Sender<Event>,
    pool: &ThreadPool,
) -> Result<Scored> {
    let progress = |p: Progress| drop(events.try_send(Event::Progress(p)));
    // The pool is entered for one job only: waiting inside it would keep a thread from the callers' encoding.
    let run = || pool.install(|| worker.run(job, timeline, &progress));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => {
            // Nothing that a panic may have left half-done is used again.
            worker.give_back();
            Err(EngineError::WorkerPanicked { message: panic_message(&*panic) })
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}
