//! What the spill store knows about each key, and what its thread is to do next.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::buffer::Buffer;
use super::options::{SpillEvent, SpillOptions, SpillStats};
use super::space::{Area, Space};
use crate::error::{IoError, Result};

#[derive(Debug, Default)]
pub(super) struct State {
    entries: HashMap<u64, Entry>,
    /// Of the entries, those whose buffer has been read ahead or is being read; counted as they come and go, because
    /// there may be as many entries as a request has chunks.
    ahead: usize,
    /// Keys to be written (first) and to be read, in the order of the calls.
    writes: VecDeque<u64>,
    reads: VecDeque<u64>,
    /// The key in the thread's hands.
    in_hand: Option<u64>,
    spare: Vec<Buffer>,
    pub(super) space: Space,
    /// Of a write, until it is reported.
    pub(super) error: Option<IoError>,
    pub(super) closed: bool,
    pub(super) stats: SpillStats,
    /// Reads and writes, where they are recorded.
    pub(super) events: Option<Vec<SpillEvent>>,
}

#[derive(Debug)]
struct Entry {
    area: Area,
    len: usize,
    phase: Phase,
    /// Somebody waits for it: it is read before others, whatever has been read ahead.
    urgent: bool,
    /// It has been asked for ahead of time while it was written.
    wanted: bool,
}

/// Where a buffer is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Not written yet.
    Queued(Buffer),
    /// In the thread's hands.
    Writing,
    /// In the file only.
    Written,
    /// In the thread's hands.
    Reading,
    /// In memory.
    Here(Buffer),
    /// In the file, and could not be read.
    Failed(IoError),
}

/// What the thread does next.
#[derive(Debug)]
pub(super) enum Task {
    Write { key: u64, area: Area, buffer: Buffer },
    Read { key: u64, area: Area, len: usize },
}

impl Phase {
    /// Whether the buffer has been read ahead or is being read.
    fn is_ahead(&self) -> bool {
        matches!(self, Phase::Here(_) | Phase::Reading)
    }
}

impl State {
    pub(super) fn record(&mut self, key: u64, write: bool, bytes: usize, begin: Instant) {
        if let Some(events) = &mut self.events {
            let bytes = bytes as u64;
            events.push(SpillEvent { key, write, bytes, span: begin..Instant::now() });
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.entries.keys().copied()
    }

    /// Buffers that are waiting to be written or being written.
    pub(super) fn writes(&self) -> usize {
        let writing = |key| self.entries.get(&key).map(|entry| &entry.phase);
        let in_hand = self.in_hand.is_some_and(|key| matches!(writing(key), Some(Phase::Writing)));
        self.writes.len() + usize::from(in_hand)
    }

    /// Moves the buffer of a key, if there is one.
    fn move_to(&mut self, key: u64, phase: Phase) -> Option<Phase> {
        let entry = self.entries.get_mut(&key)?;
        self.ahead += usize::from(phase.is_ahead());
        let before = std::mem::replace(&mut entry.phase, phase);
        self.ahead -= usize::from(before.is_ahead());
        Some(before)
    }

    fn remove_entry(&mut self, key: u64) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.ahead -= usize::from(entry.phase.is_ahead());
        Some(entry)
    }

    pub(super) fn queue_write(&mut self, key: u64, area: Area, buffer: Buffer) {
        let (len, phase) = (buffer.len(), Phase::Queued(buffer));
        self.entries.insert(key, Entry { area, len, phase, urgent: false, wanted: false });
        self.writes.push_back(key);
    }

    /// The buffer is to be read when there is room for it.
    pub(super) fn request(&mut self, key: u64) -> Result<()> {
        let entry = self.entries.get_mut(&key).ok_or(IoError::UnknownKey { key })?;
        match entry.phase {
            Phase::Queued(_) | Phase::Written | Phase::Failed(_) => {
                if !self.reads.contains(&key) {
                    self.reads.push_back(key);
                }
            }
            Phase::Writing => entry.wanted = true,
            Phase::Reading | Phase::Here(_) => {}
        }
        Ok(())
    }

    /// The buffer is needed now. One that waits to be written stays in memory instead.
    pub(super) fn request_now(&mut self, key: u64) -> Result<()> {
        self.request(key)?;
        let Some(entry) = self.entries.get_mut(&key) else {
            return Err(IoError::UnknownKey { key });
        };
        entry.urgent = true;
        match entry.phase {
            Phase::Failed(_) => drop(self.move_to(key, Phase::Written)),
            Phase::Queued(_) => self.keep(key),
            _ => {}
        }
        Ok(())
    }

    /// Takes a buffer out of the queue of writes, to stay in memory.
    fn keep(&mut self, key: u64) {
        self.withdraw(key);
        if let Some(Phase::Queued(buffer)) = self.move_to(key, Phase::Written) {
            self.move_to(key, Phase::Here(buffer));
            self.stats.reads_saved += 1;
        }
    }

    /// Takes a key off the queues.
    pub(super) fn withdraw(&mut self, key: u64) {
        self.writes.retain(|&queued| queued != key);
        self.reads.retain(|&queued| queued != key);
    }

    /// Whether [`State::take`] must wait.
    pub(super) fn is_busy(&self, key: u64) -> bool {
        let phase = self.entries.get(&key).map(|entry| &entry.phase);
        matches!(phase, Some(Phase::Queued(_) | Phase::Writing | Phase::Written | Phase::Reading))
    }

    pub(super) fn is_in_hand(&self, key: u64) -> bool {
        self.in_hand == Some(key)
    }

    /// The buffer of a key that is not busy. After a failed read the key remains.
    pub(super) fn take(&mut self, key: u64) -> Result<Buffer> {
        let entry = self.remove_entry(key).ok_or(IoError::UnknownKey { key })?;
        match entry.phase {
            Phase::Here(buffer) => {
                self.space.release(entry.area);
                Ok(buffer)
            }
            Phase::Failed(error) => {
                self.entries.insert(key, Entry { phase: Phase::Written, urgent: false, ..entry });
                Err(error)
            }
            _ => unreachable!("a busy key is waited for"),
        }
    }

    /// Drops a key that is not in the thread's hands.
    pub(super) fn remove(&mut self, key: u64, options: &SpillOptions) {
        if let Some(entry) = self.remove_entry(key) {
            self.space.release(entry.area);
            if let Phase::Queued(buffer) | Phase::Here(buffer) = entry.phase {
                self.keep_spare(buffer, options);
            }
        }
    }

    /// A used buffer that holds `len` bytes, the smallest.
    pub(super) fn reuse(&mut self, len: usize) -> Option<Buffer> {
        let fitting = self.spare.iter().enumerate().filter(|(_, b)| b.capacity() >= len);
        let (at, _) = fitting.min_by_key(|(_, buffer)| buffer.capacity())?;
        let mut buffer = self.spare.swap_remove(at);
        buffer.set_len(len);
        Some(buffer)
    }

    /// Keeps a buffer for reuse; the smallest one goes if there are too many.
    pub(super) fn keep_spare(&mut self, buffer: Buffer, options: &SpillOptions) {
        self.spare.push(buffer);
        if self.spare.len() > options.spare_buffers {
            let smallest = (0..self.spare.len()).min_by_key(|&at| self.spare[at].capacity());
            smallest.map(|at| self.spare.swap_remove(at));
        }
    }

    /// Ends the thread after the task in its hands.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// What to do next: first what somebody waits for, then what frees memory, then reading ahead.
    pub(super) fn next_task(&mut self, options: &SpillOptions) -> Option<Task> {
        let is_urgent = |key: &u64| self.entries.get(key).is_some_and(|entry| entry.urgent);
        if let Some(at) = self.reads.iter().position(is_urgent) {
            return self.start_read(at);
        }
        if let Some(key) = self.writes.pop_front() {
            let Phase::Queued(buffer) = self.move_to(key, Phase::Writing)? else {
                unreachable!("keys in the queue of writes are queued");
            };
            let entry = self.entries.get_mut(&key)?;
            entry.wanted |= self.reads.contains(&key);
            self.reads.retain(|&read| read != key);
            self.in_hand = Some(key);
            return Some(Task::Write { key, area: entry.area, buffer });
        }
        if !self.reads.is_empty() && self.ahead < options.reads_ahead.max(1) {
            return self.start_read(0);
        }
        None
    }

    fn start_read(&mut self, at: usize) -> Option<Task> {
        let key = self.reads.remove(at)?;
        self.move_to(key, Phase::Reading)?;
        let entry = self.entries.get(&key)?;
        self.in_hand = Some(key);
        Some(Task::Read { key, area: entry.area, len: entry.len })
    }

    /// A task is done. `phase` says where its buffer is now, if not at rest.
    pub(super) fn finish(&mut self, key: u64, phase: Phase) {
        self.in_hand = None;
        self.move_to(key, phase);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.urgent = false;
            entry.wanted = false;
        }
    }

    /// A buffer has been written. It stays in memory if somebody waits for it, or wants it soon and
    /// there is room; otherwise it is for reuse.
    pub(super) fn written(&mut self, key: u64, buffer: Buffer, options: &SpillOptions) {
        self.stats.writes += 1;
        self.stats.bytes_written += buffer.len() as u64;
        let room = self.ahead < options.reads_ahead.max(1);
        let entry = self.entries.get(&key);
        let (urgent, wanted) = entry.map_or((false, false), |entry| (entry.urgent, entry.wanted));
        if urgent || (wanted && room) {
            self.stats.reads_saved += 1;
            self.finish(key, Phase::Here(buffer));
            return;
        }
        self.finish(key, Phase::Written);
        self.keep_spare(buffer, options);
        if wanted {
            self.reads.push_back(key);
        }
    }

    /// Whether the thread has nothing to do until somebody calls.
    #[cfg(test)]
    pub(super) fn is_idle(&self, options: &SpillOptions) -> bool {
        let reads = !self.reads.is_empty() && self.ahead < options.reads_ahead.max(1);
        self.in_hand.is_none() && self.writes.is_empty() && !reads
    }

    /// Buffers in the store's memory.
    #[cfg(test)]
    pub(super) fn buffers(&self) -> usize {
        let ahead = self.entries.values().filter(|entry| entry.phase.is_ahead()).count();
        assert_eq!(self.ahead, ahead, "entries read ahead are counted as they come and go");
        let is = |entry: &&Entry| matches!(entry.phase, Phase::Here(_) | Phase::Queued(_));
        self.entries.values().filter(is).count() + self.spare.len()
    }
}
