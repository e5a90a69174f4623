//! A server on a port of its own, and a model whose disk has a gate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use grating::{IoError, Reranker, RerankerBuilder, Storage, WindowSize};
use grating_server::{ServedModel, Server, ServerError, ServerOptions, Stopper};

use crate::client::get;

pub(crate) const QUERY: &str = "What is the capital of France?";
pub(crate) const TEXTS: [&str; 5] = [
    "Bananas are rich in potassium.",
    "Paris is the capital of France.",
    "The river is long.",
    "France borders Spain.",
    "Bananas are rich in potassium.",
];

pub(crate) fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens").join(case)
}

/// A server that answers until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

impl Running {
    /// Does not wait for the models.
    pub(crate) fn start(mut options: ServerOptions, models: Vec<ServedModel>) -> Self {
        options.bind = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(options, models).unwrap();
        let (address, stopper) = (server.local_addr(), server.stopper());
        let thread = Some(std::thread::spawn(move || server.run()));
        Running { address, stopper, thread }
    }

    /// With the model that is built in.
    pub(crate) fn with_default(options: ServerOptions) -> Self {
        let running = Running::start(options, vec![model("default", Reranker::builder())]);
        running.until_ready();
        running
    }

    pub(crate) fn until_ready(&self) {
        until("the models are open", || get(self.address, "/health").status == 200);
    }

    pub(crate) fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Result<(), ServerError> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = get(self.address, "/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the server panicked");
        }
    }
}

pub(crate) fn model(name: &str, builder: RerankerBuilder) -> ServedModel {
    ServedModel::new(name, move || Ok(builder.build()?))
}

/// Waits for what is to come about, and fails where it does not.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets reads of weights through while it is open, as at first.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn close(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// A disk behind a gate.
#[derive(Debug)]
struct Gated(Arc<dyn Storage>, Arc<Gate>);

impl Storage for Gated {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn name(&self) -> &str {
        self.0.name()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), IoError> {
        self.1.pass();
        self.0.read_at(offset, buf)
    }
}

/// A server whose requests get stuck as long as the gate is closed, which opens when this is dropped.
pub(crate) struct Stuck {
    pub(crate) gate: Arc<Gate>,
    pub(crate) running: Running,
}

impl Stuck {
    pub(crate) fn new(options: ServerOptions, queue_length: usize) -> Self {
        let gate = Arc::new(Gate::default());
        let ours = Arc::clone(&gate);
        let builder = Reranker::builder()
            .model(golden("bert-gelu-f32"))
            .window(WindowSize::Slots(1))
            .threads(1)
            .queue_length(queue_length)
            .joint_passes(false)
            .map_storages(move |storage| Arc::new(Gated(storage, Arc::clone(&ours))));
        let running = Running::start(options, vec![model("stuck", builder)]);
        running.until_ready();
        gate.close(true);
        Stuck { gate, running }
    }

    pub(crate) fn queued(&self) -> f64 {
        self.running.metric("grating_queue_requests{").unwrap()
    }

    pub(crate) fn computed(&self) -> f64 {
        self.running.metric("grating_running_requests{").unwrap()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.gate.close(false);
    }
}
