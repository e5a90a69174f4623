//! What all requests share.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::body::HeldBytes;
use crate::failure::{Failure, Kind};
use crate::metrics::Metrics;
use crate::models::{Models, seconds_since_1970};
use crate::options::ServerOptions;

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Models are being opened.
    Loading,
    Ready,
    /// It was told to stop: what comes is answered, and connections end with their answer.
    Stopping,
    /// No new connections; those without a request are closed.
    Closing,
}

impl Phase {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Phase::Loading => "loading",
            Phase::Ready => "ready",
            Phase::Stopping | Phase::Closing => "stopping",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ServerOptions,
    pub(crate) models: Models,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) held: HeldBytes,
    pub(crate) metrics: Metrics,
    /// Tells the ids of this process from those of others.
    started: u64,
    requests: AtomicU64,
}

impl Shared {
    pub(crate) fn new(options: ServerOptions, models: Models) -> Self {
        Shared {
            held: HeldBytes::new(options.max_held_bytes),
            metrics: Metrics::default(),
            phase: watch::Sender::new(Phase::Loading),
            started: seconds_since_1970() & 0xffff_ffff,
            requests: AtomicU64::new(0),
            options,
            models,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to a later phase, never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            *now = phase.max(*now);
            later
        });
    }

    pub(crate) fn next_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        format!("rr-{:08x}-{number:x}", self.started)
    }

    /// Whether requests can be answered.
    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        match self.models.all().is_empty() {
            true => self.models.find(None).map(drop),
            false if self.phase() == Phase::Closing => {
                let message = "the server is stopping; ask again when it is back";
                Err(Failure::new(Kind::Unavailable, message))
            }
            false => Ok(()),
        }
    }
}
