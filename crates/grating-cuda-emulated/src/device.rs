//! The emulated device as a driver.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grating_cuda::{DevicePointer, Driver, DriverError, Event, Kernel, Launch, Result, Stream};

use crate::memory::Memory;
use crate::queues::{Operation, Order, Queues, is_kernel};

/// A kind of call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Allocations on the device: out of memory.
    Allocate,
    /// Page-locked allocations: out of memory.
    AllocateHost,
    /// Copies, as they are queued.
    Copy,
    /// Kernels, as they are queued.
    Launch,
    /// Waits of the host: something that was queued has failed.
    Synchronize,
    /// Events, as they are made.
    Event,
    /// Events, as they are queued.
    Record,
    /// Waits of queues, as they are queued.
    Wait,
    /// Kernels, as they are looked for.
    Kernel,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 9] = [
        Call::Allocate,
        Call::AllocateHost,
        Call::Copy,
        Call::Launch,
        Call::Synchronize,
        Call::Event,
        Call::Record,
        Call::Wait,
        Call::Kernel,
    ];
}

/// What a call says that a test made fail.
const ASKED_FOR: &str = "a fault that a test asked for";

/// What was asked of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Kernels that were launched.
    pub launches: u64,
    /// Bytes that were copied from and to the host.
    pub copied: u64,
    /// Waits of the host.
    pub waits: u64,
    /// Events that were made.
    pub events: u64,
}

/// A device without a card; clones are the same device.
#[derive(Debug, Clone)]
pub struct Emulated(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    device: Memory,
    host: Memory,
    queues: Queues,
    kernels: Vec<(&'static str, CString)>,
    /// Which call is to fail, after how many of its kind.
    fault: Option<(Call, u64)>,
    counted: Counted,
    /// What went wrong and cannot be mended, as on a device that is lost.
    lost: Option<String>,
}

impl Emulated {
    /// With as much memory as there is, or so many bytes.
    pub fn new(memory: Option<u64>, order: Order) -> Self {
        Emulated(Arc::new(Mutex::new(State {
            device: Memory::within(memory),
            host: Memory::default(),
            queues: Queues::new(order),
            kernels: Vec::new(),
            fault: None,
            counted: Counted::default(),
            lost: None,
        })))
    }

    /// Makes one call of this kind fail, after so many that do not.
    pub fn fail(&self, call: Call, after: u64) {
        self.state().fault = Some((call, after));
    }

    /// Forgets a fault that has not come; whether there was one.
    pub fn mend(&self) -> bool {
        self.state().fault.take().is_some()
    }

    /// After how many calls of its kind the fault comes that was asked for; none where none is left.
    pub fn left(&self) -> Option<u64> {
        self.state().fault.map(|(_, after)| after)
    }

    /// From now on every call fails but those that give memory back, as on a device that is lost.
    pub fn lose(&self) {
        self.state().lost.get_or_insert_with(|| ASKED_FOR.into());
    }

    /// Bytes of the device's memory that are allocated now, and most at one time.
    pub fn allocated(&self) -> (u64, u64) {
        let state = self.state();
        (state.device.allocated, state.device.peak)
    }

    /// Bytes of page-locked memory that are allocated now, and most at one time.
    pub fn page_locked(&self) -> (u64, u64) {
        let state = self.state();
        (state.host.allocated, state.host.peak)
    }

    /// What was asked of the device so far.
    pub fn counted(&self) -> Counted {
        self.state().counted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether this call is the one to fail.
    fn fails(&mut self, call: Call) -> bool {
        match &mut self.fault {
            Some((of, after)) if *of == call => match after.checked_sub(1) {
                Some(left) => {
                    *after = left;
                    false
                }
                None => {
                    self.fault = None;
                    true
                }
            },
            _ => false,
        }
    }

    /// An error where this call is the one to fail, or the device is lost.
    fn succeeds(&mut self, call: Call, action: &'static str) -> Result<()> {
        match self.fails(call) {
            true => Err(DriverError::failed(action, ASKED_FOR)),
            false => self.alive(action),
        }
    }

    /// An error where the device is lost.
    fn alive(&self, action: &'static str) -> Result<()> {
        match &self.lost {
            Some(reason) => Err(DriverError::failed(action, reason.clone())),
            None => Ok(()),
        }
    }

    fn settle<T>(&mut self, action: &'static str, outcome: Result<T, String>) -> Result<T> {
        outcome.map_err(|reason| {
            self.lost.get_or_insert_with(|| reason.clone());
            DriverError::failed(action, reason)
        })
    }

    fn push(&mut self, action: &'static str, queue: usize, operation: Operation) -> Result<()> {
        self.alive(action)?;
        let outcome = self.queues.push(queue, operation, &self.host);
        self.settle(action, outcome)
    }

    fn copy(
        &mut self,
        queue: usize,
        (to, from, bytes): (u64, u64, usize),
        on_device: &[u64],
        host: Option<u64>,
    ) -> Result<()> {
        const ACTION: &str = "copying";
        self.succeeds(Call::Copy, ACTION)?;
        let outside = on_device.iter().any(|&at| !self.device.holds(at, bytes))
            || host.is_some_and(|at| !self.host.holds(at, bytes));
        if outside {
            return Err(DriverError::failed(ACTION, "it is beyond the bounds of an allocation"));
        }
        if host.is_some() {
            self.counted.copied += bytes as u64;
        }
        self.push(ACTION, queue, Operation::Copy { to, from, bytes, host })
    }

    fn synchronized(&mut self, outcome: Result<(), String>) -> Result<()> {
        const ACTION: &str = "computing";
        self.counted.waits += 1;
        self.succeeds(Call::Synchronize, ACTION)?;
        let whole = self.device.is_whole();
        let outcome = outcome.and_then(|()| match whole {
            true => Ok(()),
            false => Err("something was written beyond the bounds of an allocation".to_owned()),
        });
        self.settle(ACTION, outcome)
    }
}

impl Driver for Emulated {
    fn name(&self) -> String {
        "emulated device".into()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let state = self.state();
        let total = state.device.budget.unwrap_or(1 << 40);
        Ok((total - state.device.allocated, total))
    }

    fn allocate(&self, bytes: usize) -> Result<DevicePointer> {
        let mut state = self.state();
        state.alive("allocating")?;
        let full = DriverError::OutOfMemory { memory: "the emulated device", bytes: bytes as u64 };
        if state.fails(Call::Allocate) {
            return Err(full);
        }
        state.device.allocate(bytes).map(DevicePointer).ok_or(full)
    }

    unsafe fn free(&self, at: DevicePointer) {
        let mut state = self.state();
        let State { queues, host, .. } = &mut *state;
        let outcome = queues.complete_all(host);
        let _ = state.settle("freeing", outcome);
        if !state.device.free(at.0) {
            state.lost.get_or_insert("something was written beyond an allocation".into());
        }
    }

    fn allocate_host(&self, bytes: usize) -> Result<NonNull<u8>> {
        let mut state = self.state();
        let full = DriverError::OutOfMemory { memory: "the host", bytes: bytes as u64 };
        state.alive("page-locking")?;
        if state.fails(Call::AllocateHost) {
            return Err(full);
        }
        let at = state.host.allocate(bytes).and_then(|at| NonNull::new(at as *mut u8));
        at.ok_or(full)
    }

    unsafe fn free_host(&self, at: NonNull<u8>, _bytes: usize) {
        self.state().host.free(at.as_ptr() as u64);
    }

    fn stream(&self) -> Result<Stream> {
        let mut state = self.state();
        state.alive("making a stream")?;
        state.queues.all.push(Default::default());
        Ok(Stream(state.queues.all.len() as u64 - 1))
    }

    fn event(&self) -> Result<Event> {
        let mut state = self.state();
        state.succeeds(Call::Event, "making an event")?;
        state.counted.events += 1;
        state.queues.events.push(Default::default());
        Ok(Event(state.queues.events.len() as u64 - 1))
    }

    unsafe fn copy_to_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: *const u8,
        bytes: usize,
    ) -> Result<()> {
        let from = from as u64;
        self.state().copy(stream.0 as usize, (to.0, from, bytes), &[to.0], Some(from))
    }

    unsafe fn copy_to_host(
        &self,
        stream: Stream,
        to: *mut u8,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()> {
        let to = to as u64;
        self.state().copy(stream.0 as usize, (to, from.0, bytes), &[from.0], Some(to))
    }

    unsafe fn copy_on_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()> {
        self.state().copy(stream.0 as usize, (to.0, from.0, bytes), &[to.0, from.0], None)
    }

    unsafe fn forget(&self, stream: Stream, at: DevicePointer, bytes: usize) -> Result<()> {
        let mut state = self.state();
        assert!(state.device.holds(at.0, bytes), "nobody has that memory");
        state.push("forgetting", stream.0 as usize, Operation::Forget { at: at.0, bytes })
    }

    fn kernel(&self, name: &'static str) -> Result<Kernel> {
        let mut state = self.state();
        state.succeeds(Call::Kernel, "looking for a kernel")?;
        if let Some(at) = state.kernels.iter().position(|(known, _)| *known == name) {
            return Ok(Kernel(at as u64));
        }
        let unknown = || DriverError::failed("looking for a kernel", name);
        let c_name = CString::new(name).map_err(|_| unknown())?;
        if !is_kernel(&c_name) {
            return Err(unknown());
        }
        state.kernels.push((name, c_name));
        Ok(Kernel(state.kernels.len() as u64 - 1))
    }

    unsafe fn launch(&self, stream: Stream, launch: Launch<'_>) -> Result<()> {
        let mut state = self.state();
        state.succeeds(Call::Launch, "launching a kernel")?;
        state.counted.launches += 1;
        let Launch { kernel, grid, threads, argument } = launch;
        // As a device has it.
        if grid[1] > 65_535 {
            return Err(DriverError::failed("launching a kernel", "invalid argument"));
        }
        let name = state.kernels[kernel.0 as usize].1.clone();
        // Aligned as its widest field.
        let mut words = vec![0_u64; argument.len().div_ceil(8)];
        for (word, bytes) in words.iter_mut().zip(argument.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(padded);
        }
        let bytes = argument.len();
        let launch = Operation::Launch { name, grid, threads, argument: words, bytes };
        state.push("launching a kernel", stream.0 as usize, launch)
    }

    fn record(&self, event: Event, stream: Stream) -> Result<()> {
        const ACTION: &str = "recording an event";
        let mut state = self.state();
        state.succeeds(Call::Record, ACTION)?;
        let operation = state.queues.record(event.0 as usize, stream.0 as usize);
        state.push(ACTION, stream.0 as usize, operation)
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<()> {
        const ACTION: &str = "waiting for an event";
        let mut state = self.state();
        state.succeeds(Call::Wait, ACTION)?;
        let operation = state.queues.wait(event.0 as usize);
        state.push(ACTION, stream.0 as usize, operation)
    }

    fn synchronize(&self, event: Event) -> Result<()> {
        let mut state = self.state();
        let State { queues, host, .. } = &mut *state;
        let event = event.0 as usize;
        let recording = queues.events[event].recorded;
        let outcome = queues.complete(event, recording, host);
        state.synchronized(outcome)
    }

    fn is_complete(&self, event: Event) -> Result<bool> {
        let state = self.state();
        state.alive("asking for an event")?;
        let event = &state.queues.events[event.0 as usize];
        Ok(event.complete >= event.recorded)
    }

    fn elapsed(&self, start: Event, end: Event) -> Result<Duration> {
        let state = self.state();
        let at = |event: Event| {
            let event = &state.queues.events[event.0 as usize];
            event.at.filter(|_| event.complete == event.recorded)
        };
        match (at(start), at(end)) {
            (Some(start), Some(end)) => Ok(end.saturating_duration_since(start)),
            _ => Err(DriverError::failed("measuring time", "an event is not complete")),
        }
    }

    fn synchronize_all(&self) -> Result<()> {
        let mut state = self.state();
        let State { queues, host, .. } = &mut *state;
        let outcome = queues.complete_all(host);
        state.synchronized(outcome)
    }
}
