//! What ran when: a trace that Perfetto and `chrome://tracing` open.

use std::time::Instant;

use grating_io::SpillEvent;
use grating_sched::BlockPart;
use serde_json::{Value, json};

use crate::meter::current_rss_bytes;
use crate::window::Weights;

/// Spans of one request, on a track for each kind of work, and the process's memory. Empty unless it was asked for.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    origin: Option<Instant>,
    events: Vec<Value>,
}

/// Whose work a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    Compute,
    WeightReads,
    Spill,
}

impl Track {
    const ALL: [Track; 3] = [Track::Compute, Track::WeightReads, Track::Spill];

    fn name(self) -> &'static str {
        match self {
            Track::Compute => "compute",
            Track::WeightReads => "weight reads",
            Track::Spill => "hidden states to and from disk",
        }
    }
}

impl Timeline {
    /// One that records.
    pub(crate) fn recording() -> Self {
        let name = |track: &Track| {
            json!({"ph": "M", "pid": 1, "tid": *track as u8, "name": "thread_name",
                   "args": {"name": track.name()}})
        };
        Timeline { origin: Some(Instant::now()), events: Track::ALL.iter().map(name).collect() }
    }

    /// One that does not.
    pub(crate) fn off() -> Self {
        Timeline { origin: None, events: Vec::new() }
    }

    /// Whether this one records.
    pub(crate) fn is_on(&self) -> bool {
        self.origin.is_some()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Chrome's trace event format.
    pub fn to_json(&self) -> Value {
        json!({"traceEvents": self.events, "displayTimeUnit": "ms"})
    }

    pub(crate) fn span(&mut self, track: Track, name: &str, start: Instant, end: Instant) {
        self.record(track, name.into(), start, end, Value::Null);
    }

    /// The reading of a block, and that it has come.
    pub(crate) fn weights(&mut self, layer: usize, part: BlockPart, weights: &Weights) {
        if self.origin.is_none() {
            return;
        }
        let read = weights.read_span();
        let name = format!("layer {layer}{}", suffix(part));
        let arguments = json!({"bytes": weights.bytes()});
        self.record(Track::WeightReads, name, read.start, read.end, arguments);
    }

    /// A chunk's hidden states went to the disk or came back; `whose` names them.
    pub(crate) fn spilled(&mut self, event: &SpillEvent, whose: &str) {
        let verb = if event.write { "write" } else { "read" };
        let arguments = json!({"bytes": event.bytes});
        let (start, end) = (event.span.start, event.span.end);
        self.record(Track::Spill, format!("{verb} {whose}"), start, end, arguments);
    }

    /// A chunk went through a block from `start` until now.
    pub(crate) fn chunk(&mut self, layer: usize, part: BlockPart, chunk: usize, start: Instant) {
        let Some(origin) = self.origin else { return };
        let name = format!("layer {layer}{}, chunk {chunk}", suffix(part));
        let end = Instant::now();
        self.record(Track::Compute, name, start, end, Value::Null);
        if let Some(bytes) = current_rss_bytes() {
            self.events.push(json!({"ph": "C", "pid": 1, "name": "resident memory",
                "ts": micros(origin, end), "args": {"bytes": bytes}}));
        }
    }

    fn record(&mut self, track: Track, name: String, start: Instant, end: Instant, args: Value) {
        let Some(origin) = self.origin else { return };
        let duration = end.saturating_duration_since(start).as_secs_f64() * 1e6;
        // What was read before the request began starts before its origin.
        self.events.push(json!({"ph": "X", "pid": 1, "tid": track as u8, "name": name,
            "ts": micros(origin, start), "dur": duration, "args": args}));
    }
}

fn suffix(part: BlockPart) -> &'static str {
    match part {
        BlockPart::Whole => "",
        BlockPart::Attention => " attention",
        BlockPart::FeedForward => " feed-forward",
    }
}

/// Microseconds from `origin`; negative before it.
fn micros(origin: Instant, at: Instant) -> f64 {
    match at.checked_duration_since(origin) {
        Some(after) => after.as_secs_f64() * 1e6,
        None => -(origin - at).as_secs_f64() * 1e6,
    }
}
