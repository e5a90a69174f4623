//! What ran when: a trace that Perfetto and `chrome://tracing` open.

use std::time::Instant;

use grating_backend::{CopySpan, DeviceMemory};
use grating_io::SpillEvent;
use grating_sched::{BlockPart, Machine};
use serde_json::{Value, json};

use crate::meter::current_rss_bytes;
use crate::window::Weights;

/// Spans of the pass that a request was in, on a track for computing and one for each link, and the process's memory. Empty
/// unless it was asked for.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    origin: Option<Instant>,
    events: Vec<Value>,
    /// What the memory is called that the process is resident in.
    memory: &'static str,
    /// What the device's own is called.
    device_memory: &'static str,
}

/// Whose work a span is: what computes, or a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    Compute,
    DiskToHost,
    HostToDisk,
    HostToDevice,
}

impl Timeline {
    /// One that records.
    pub(crate) fn recording() -> Self {
        let mut timeline = Timeline {
            origin: Some(Instant::now()),
            events: Vec::new(),
            memory: "memory",
            device_memory: "device memory",
        };
        timeline.name(Track::Compute, "compute");
        timeline
    }

    /// Names the tracks of the links and the memory after the machine's.
    pub(crate) fn describe(&mut self, machine: &Machine) {
        self.memory = machine.host.name;
        self.name(Track::DiskToHost, &format!("{}: weights", machine.disk_to_host.name));
        let hidden = format!("{} and back: hidden states", machine.host_to_disk.name);
        self.name(Track::HostToDisk, &hidden);
        if let Some(device) = &machine.device {
            self.device_memory = device.memory.name;
            self.name(Track::HostToDevice, &format!("{}: weights", device.link.name));
        }
    }

    fn name(&mut self, track: Track, name: &str) {
        if self.is_on() {
            self.events.push(json!({"ph": "M", "pid": 1, "tid": track as u8,
                "name": "thread_name", "args": {"name": name}}));
        }
    }

    /// One that does not.
    pub(crate) fn off() -> Self {
        Timeline::default()
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
        let arguments = json!({"bytes": weights.total_bytes()});
        self.record(Track::DiskToHost, name, read.start, read.end, arguments);
    }

    /// A block went to the device, timed by the device's own clock.
    pub(crate) fn copied(&mut self, copy: &CopySpan) {
        let arguments = json!({"bytes": copy.bytes});
        let (start, end) = (copy.span.start, copy.span.end);
        self.record(Track::HostToDevice, "weights".into(), start, end, arguments);
    }

    /// What is allocated of the device's own memory now.
    pub(crate) fn on_device(&mut self, memory: DeviceMemory, now: Instant) {
        let Some(origin) = self.origin else { return };
        let name = format!("allocated {}", self.device_memory);
        self.events.push(json!({"ph": "C", "pid": 1, "name": name,
            "ts": micros(origin, now), "args": {"bytes": memory.now}}));
    }

    /// A chunk's hidden states went to the disk or came back; `whose` names them.
    pub(crate) fn spilled(&mut self, event: &SpillEvent, whose: &str) {
        let verb = if event.write { "write" } else { "read" };
        let arguments = json!({"bytes": event.bytes});
        let (start, end) = (event.span.start, event.span.end);
        self.record(Track::HostToDisk, format!("{verb} {whose}"), start, end, arguments);
    }

    /// A chunk went through a block from `start` until now.
    pub(crate) fn chunk(&mut self, layer: usize, part: BlockPart, whose: &str, start: Instant) {
        let Some(origin) = self.origin else { return };
        let name = format!("layer {layer}{}, {whose}", suffix(part));
        let end = Instant::now();
        self.record(Track::Compute, name, start, end, Value::Null);
        if let Some(bytes) = current_rss_bytes() {
            let name = format!("resident {}", self.memory);
            self.events.push(json!({"ph": "C", "pid": 1, "name": name,
                "ts": micros(origin, end), "args": {"bytes": bytes}}));
        }
    }

    /// So many tokens are computed from now on.
    pub(crate) fn tokens(&mut self, tokens: usize, now: Instant) {
        let Some(origin) = self.origin else { return };
        self.events.push(json!({"ph": "C", "pid": 1, "name": "live tokens",
            "ts": micros(origin, now), "args": {"tokens": tokens}}));
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn events(timeline: &Timeline) -> Vec<Value> {
        timeline.to_json()["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn what_was_not_asked_for_is_not_recorded() {
        let mut timeline = Timeline::off();
        timeline.describe(&Machine::default());
        let now = Instant::now();
        timeline.span(Track::Compute, "embed", now, now);
        timeline.chunk(0, BlockPart::Whole, "chunk 0", now);
        assert!(timeline.is_empty() && !timeline.is_on());
    }

    #[test]
    fn tracks_and_memory_have_the_names_of_the_machine() {
        let mut timeline = Timeline::recording();
        timeline.describe(&Machine::default());
        timeline.chunk(1, BlockPart::FeedForward, "chunk 2", Instant::now());
        let events = events(&timeline);
        let of =
            |phase: &str| -> Vec<&Value> { events.iter().filter(|e| e["ph"] == phase).collect() };
        let tracks: Vec<(u64, &str)> = of("M")
            .iter()
            .map(|e| (e["tid"].as_u64().unwrap(), e["args"]["name"].as_str().unwrap()))
            .collect();
        let expected = [
            (Track::Compute as u64, "compute"),
            (Track::DiskToHost as u64, "disk to memory: weights"),
            (Track::HostToDisk as u64, "memory to disk and back: hidden states"),
        ];
        assert_eq!(tracks, expected);
        assert_eq!(of("X")[0]["name"], "layer 1 feed-forward, chunk 2");
        let resident = current_rss_bytes().map(|_| "resident memory");
        assert_eq!(of("C").first().map(|e| e["name"].as_str().unwrap()), resident);
    }

    #[test]
    fn a_device_has_a_track_for_its_link_and_its_memory() {
        let memory = grating_sched::Memory::new("device memory");
        let mut timeline = Timeline::recording();
        timeline.describe(&Machine::default().with_device(memory, 1e10));
        let now = Instant::now();
        timeline.copied(&CopySpan::new(7, now..now + Duration::from_millis(2)));
        timeline.on_device(DeviceMemory::new(5, 9), now);
        let events = events(&timeline);
        let of_link = |e: &&Value| e["tid"] == Track::HostToDevice as u64;
        let of_link: Vec<&Value> = events.iter().filter(of_link).collect();
        assert_eq!(of_link[0]["args"]["name"], "host to device: weights");
        assert_eq!((&of_link[1]["dur"], &of_link[1]["args"]["bytes"]), (&2e3.into(), &7.into()));
        let counter = events.iter().find(|e| e["ph"] == "C").unwrap();
        assert_eq!(counter["name"], "allocated device memory");
        assert_eq!(counter["args"]["bytes"], 5);
    }

    #[test]
    fn what_was_read_ahead_began_before_the_request() {
        let mut timeline = Timeline::recording();
        let origin = timeline.origin.unwrap();
        let before = origin.checked_sub(Duration::from_millis(2)).unwrap_or(origin);
        timeline.span(Track::DiskToHost, "layer 0", before, origin + Duration::from_millis(1));
        let events = events(&timeline);
        let span = events.iter().find(|event| event["ph"] == "X").unwrap();
        let early = (origin - before).as_secs_f64() * 1e6;
        assert_eq!(
            (span["ts"].as_f64(), span["dur"].as_f64()),
            (Some(-early), Some(early + 1000.0))
        );
    }
}
