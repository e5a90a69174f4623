//! `--deadline`: from the start of the command, reading included.

use std::io::{Error, ErrorKind, Read, Result};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Until when an answer is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    began: Instant,
    allowed: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn after(allowed: Duration) -> Self {
        Deadline { began: Instant::now(), allowed }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.allowed.saturating_sub(self.began.elapsed())
    }

    /// That it has passed.
    pub(crate) fn exceeded(&self) -> grating::Error {
        grating::Error::DeadlineExceeded { allowed: self.allowed }
    }

    /// Reads on a thread of its own: a pipe into which nobody writes ends with [`ErrorKind::TimedOut`].
    pub(crate) fn read(&self, mut from: impl Read + Send + 'static) -> Timed {
        let (sender, receiver) = sync_channel(1);
        // It ends with its input, with whoever listens, or with the process.
        std::thread::spawn(move || {
            loop {
                let mut bytes = vec![0; PIECE];
                let read = from.read(&mut bytes).map(|count| {
                    bytes.truncate(count);
                    bytes
                });
                let last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        Timed { deadline: *self, receiver, bytes: Vec::new(), at: 0 }
    }
}

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

pub(crate) struct Timed {
    deadline: Deadline,
    receiver: Receiver<Result<Vec<u8>>>,
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Timed {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.at == self.bytes.len() {
            self.at = 0;
            self.bytes = match self.receiver.recv_timeout(left) {
                Ok(read) => read?,
                Err(RecvTimeoutError::Timeout) => return Err(Error::from(ErrorKind::TimedOut)),
                // The end has been told.
                Err(RecvTimeoutError::Disconnected) => Vec::new(),
            };
        }
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(to.len());
        to[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
