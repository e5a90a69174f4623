//! Queues of copies and kernels, and when what is queued runs.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::time::Instant;

use crate::memory::{Memory, POISON};

/// When what is queued runs. A real device may choose any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As late as can be: what somebody waits for, and what that waits for.
    Late,
    /// The queue that was made first runs at once where it waits for nothing, the others late.
    FirstQueueAtOnce,
    /// The other way around.
    OtherQueuesAtOnce,
    /// Now and then, as the seed decides.
    Random(u64),
}

/// One thing of a queue.
#[derive(Debug)]
pub(crate) enum Operation {
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
        host: Option<u64>,
    },
    Forget {
        at: u64,
        bytes: usize,
    },
    Launch {
        name: CString,
        grid: [u32; 3],
        threads: u32,
        argument: Vec<u64>,
        bytes: usize,
    },
    /// This recording of the event is complete.
    Record {
        event: usize,
        recording: u64,
    },
    Wait {
        event: usize,
        recording: u64,
    },
}

#[derive(Debug, Default)]
pub(crate) struct EventState {
    pub(crate) recorded: u64,
    pub(crate) complete: u64,
    queue: usize,
    pub(crate) at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) all: Vec<VecDeque<Operation>>,
    pub(crate) events: Vec<EventState>,
    pub(crate) order: Order,
    random: u64,
    launches: u64,
}

unsafe extern "C" {
    fn grating_emulated_has(name: *const c_char) -> c_int;
    fn grating_emulated_launch(
        name: *const c_char,
        x: c_uint,
        y: c_uint,
        z: c_uint,
        threads: c_uint,
        argument: *const c_void,
        bytes: usize,
        backwards: c_int,
    ) -> *const c_char;
}

/// Whether there is such a kernel.
pub(crate) fn is_kernel(name: &CStr) -> bool {
    // SAFETY: the name ends with 0; the table of kernels is not changed after the program's start.
    unsafe { grating_emulated_has(name.as_ptr()) != 0 }
}

impl Queues {
    pub(crate) fn new(order: Order) -> Self {
        let random = match order {
            Order::Random(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            _ => 1,
        };
        Queues { all: Vec::new(), events: Vec::new(), order, random, launches: 0 }
    }

    pub(crate) fn push(
        &mut self,
        queue: usize,
        operation: Operation,
        host: &Memory,
    ) -> Result<(), String> {
        self.all[queue].push_back(operation);
        for queue in 0..self.all.len() {
            let count = match self.order {
                Order::Late => 0,
                Order::FirstQueueAtOnce if queue == 0 => usize::MAX,
                Order::OtherQueuesAtOnce if queue > 0 => usize::MAX,
                Order::Random(_) => match self.next_random() % 20 {
                    count @ 0..5 => count as usize,
                    _ => 0,
                },
                _ => 0,
            };
            self.run(queue, count, host)?;
        }
        Ok(())
    }

    pub(crate) fn record(&mut self, event: usize, queue: usize) -> Operation {
        let state = &mut self.events[event];
        state.recorded += 1;
        state.queue = queue;
        Operation::Record { event, recording: state.recorded }
    }

    pub(crate) fn wait(&self, event: usize) -> Operation {
        Operation::Wait { event, recording: self.events[event].recorded }
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 20
    }

    /// Runs up to `count` operations of a queue, as far as it need not wait.
    fn run(&mut self, queue: usize, count: usize, host: &Memory) -> Result<(), String> {
        for _ in 0..count {
            let waits = match self.all[queue].front() {
                None => return Ok(()),
                Some(Operation::Wait { event, recording }) => {
                    self.events[*event].complete < *recording
                }
                Some(_) => false,
            };
            if waits {
                return Ok(());
            }
            self.step(queue, host)?;
        }
        Ok(())
    }

    /// Runs what an event waits for, and no more.
    pub(crate) fn complete(
        &mut self,
        event: usize,
        recording: u64,
        host: &Memory,
    ) -> Result<(), String> {
        while self.events[event].complete < recording {
            // Recordings of one event in several queues: the last one's is where the others lead.
            let queue = self.events[event].queue;
            if self.all[queue].is_empty() {
                return Err("an event is waited for whose recording nobody queued".into());
            }
            self.step(queue, host)?;
        }
        Ok(())
    }

    pub(crate) fn complete_all(&mut self, host: &Memory) -> Result<(), String> {
        for queue in 0..self.all.len() {
            while !self.all[queue].is_empty() {
                self.step(queue, host)?;
            }
        }
        Ok(())
    }

    /// Runs the next operation of a queue, after what it waits for.
    fn step(&mut self, queue: usize, host: &Memory) -> Result<(), String> {
        let Some(operation) = self.all[queue].pop_front() else { return Ok(()) };
        match operation {
            Operation::Wait { event, recording } => self.complete(event, recording, host),
            Operation::Record { event, recording } => {
                let state = &mut self.events[event];
                state.complete = state.complete.max(recording);
                state.at = Some(Instant::now());
                Ok(())
            }
            Operation::Copy { to, from, bytes, host: of_host } => {
                if of_host.is_some_and(|at| !host.holds(at, bytes)) {
                    return Err("page-locked memory was freed before its copy ran".into());
                }
                // SAFETY: whoever queued it promised that both places have so many bytes; the host's was checked.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
                Ok(())
            }
            Operation::Forget { at, bytes } => {
                // SAFETY: whoever queued it promised that there are so many bytes.
                unsafe { (at as *mut u8).write_bytes(POISON, bytes) };
                Ok(())
            }
            Operation::Launch { name, grid: [x, y, z], threads, argument, bytes } => {
                self.launches += 1;
                let backwards = c_int::from(self.launches.is_multiple_of(2));
                // SAFETY: whoever queued it promised that the argument is what the kernel takes; its size is checked.
                let fault = unsafe {
                    let argument = argument.as_ptr().cast();
                    grating_emulated_launch(
                        name.as_ptr(),
                        x,
                        y,
                        z,
                        threads,
                        argument,
                        bytes,
                        backwards,
                    )
                };
                match fault.is_null() {
                    true => Ok(()),
                    // SAFETY: a string that ends with 0 and stays.
                    false => Err(format!("{}: {}", name.to_string_lossy(), unsafe {
                        CStr::from_ptr(fault).to_string_lossy()
                    })),
                }
            }
        }
    }
}
