//! NVIDIA's driver, found when it is asked for.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cudarc::driver::{CudaContext, result, sys};

use crate::driver::{DevicePointer, Driver, Event, Kernel, Launch, Stream};
use crate::error::{DriverError, Result};

/// The kernels, for the driver to compile for its device.
const PTX: &str = include_str!("../kernels/kernels.ptx");

/// A device of this machine, through NVIDIA's driver.
#[derive(Debug)]
pub struct Nvidia {
    context: Arc<CudaContext>,
    name: String,
    module: sys::CUmodule,
    handles: Mutex<Handles>,
}

/// What is destroyed with the driver.
#[derive(Debug, Default)]
struct Handles {
    kernels: HashMap<&'static str, Kernel>,
    streams: Vec<Stream>,
    events: Vec<Event>,
}

// SAFETY: handles of the driver may be used by any thread that has made the context current, which each call does.
unsafe impl Send for Nvidia {}
// SAFETY: as above; the driver takes calls of several threads at a time.
unsafe impl Sync for Nvidia {}

/// How many devices the driver sees.
///
/// # Errors
/// [`DriverError::NoDriver`], or the driver's.
pub fn device_count() -> Result<usize> {
    // SAFETY: opens the driver's library, whose initialisers are trusted as everywhere on the machine, and closes it.
    if !unsafe { sys::is_culib_present() } {
        return Err(DriverError::NoDriver);
    }
    const ACTION: &str = "looking for devices";
    let count = guarded(ACTION, || match CudaContext::device_count() {
        // A driver without any device of its own.
        Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => Ok(0),
        count => count.map_err(|e| failed(ACTION, e)),
    })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What may be the first use of functions that a library in the driver's place need not have: cudarc panics there.
fn guarded<T>(action: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half-done nobody sees.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let reason = "the driver's library lacks a function: install a newer driver";
        Err(DriverError::failed(action, reason))
    })
}

/// The driver's error in this crate's terms.
fn failed(action: &'static str, error: result::DriverError) -> DriverError {
    let reason = match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{:?}", error.0),
    };
    DriverError::Failed { action, reason }
}

impl Nvidia {
    /// Device number `device`, with the kernels loaded.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`], [`DriverError::NoDevice`], [`DriverError::TooOld`], or the driver's.
    pub fn open(device: usize) -> Result<Self> {
        let count = device_count()?;
        if device >= count {
            return Err(DriverError::NoDevice { device, count });
        }
        const ACTION: &str = "opening the device";
        guarded(ACTION, || {
            let context = CudaContext::new(device).map_err(|e| failed(ACTION, e))?;
            Self::with_kernels(context)
        })
    }

    fn with_kernels(context: Arc<CudaContext>) -> Result<Self> {
        let name = context.name().map_err(|e| failed("asking for the device's name", e))?;
        let capability = context.compute_capability();
        let (major, minor) = capability.map_err(|e| failed("asking what the device can do", e))?;
        if major < 8 {
            return Err(DriverError::TooOld { name, major, minor });
        }
        let ptx =
            CString::new(PTX).map_err(|e| DriverError::failed("loading kernels", e.to_string()))?;
        // SAFETY: the image is a string that ends with 0 and outlives the call.
        let module = unsafe { result::module::load_data(ptx.as_ptr().cast::<c_void>()) };
        let module = module.map_err(|e| failed("loading the kernels", e))?;
        Ok(Nvidia { context, name, module, handles: Mutex::default() })
    }

    /// Makes the context that of the thread.
    fn current(&self, action: &'static str) -> Result<()> {
        self.context.bind_to_thread().map_err(|e| failed(action, e))
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, Handles> {
        // Entries are made whole, so a panic elsewhere leaves them sound.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn out_of_memory(
        memory: &'static str,
        action: &'static str,
        bytes: usize,
    ) -> impl Fn(result::DriverError) -> DriverError {
        move |error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                DriverError::OutOfMemory { memory, bytes: bytes as u64 }
            }
            _ => failed(action, error),
        }
    }
}

fn stream_of(stream: Stream) -> sys::CUstream {
    stream.0 as sys::CUstream
}

fn event_of(event: Event) -> sys::CUevent {
    event.0 as sys::CUevent
}

impl Driver for Nvidia {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let (free, total) =
            self.context.mem_get_info().map_err(|e| failed("asking for free memory", e))?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: usize) -> Result<DevicePointer> {
        self.current("allocating")?;
        // SAFETY: the context is current, and the size is not 0.
        let at = unsafe { result::malloc_sync(bytes.max(1)) };
        at.map(DevicePointer).map_err(Self::out_of_memory("the device", "allocating", bytes))
    }

    unsafe fn free(&self, at: DevicePointer) {
        if self.current("freeing").is_ok() {
            // SAFETY: the caller's; the driver waits for what is queued. An error is one of an earlier call, which later
            // ones report.
            let _ = unsafe { result::free_sync(at.0) };
        }
    }

    fn allocate_host(&self, bytes: usize) -> Result<NonNull<u8>> {
        self.current("page-locking")?;
        // SAFETY: the context is current, and the size is not 0. Flags 0: the host reads it back, too.
        let at = unsafe { result::malloc_host(bytes.max(1), 0) };
        let at = at.map_err(Self::out_of_memory("the host", "page-locking", bytes))?;
        NonNull::new(at.cast()).ok_or_else(|| DriverError::failed("page-locking", "no address"))
    }

    unsafe fn free_host(&self, at: NonNull<u8>, _bytes: usize) {
        if self.current("freeing").is_ok() {
            // SAFETY: the caller's.
            let _ = unsafe { result::free_host(at.as_ptr().cast()) };
        }
    }

    fn stream(&self) -> Result<Stream> {
        const ACTION: &str = "making a stream";
        self.current(ACTION)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = Stream(stream.map_err(|e| failed(ACTION, e))? as u64);
        self.handles().streams.push(stream);
        Ok(stream)
    }

    fn event(&self) -> Result<Event> {
        const ACTION: &str = "making an event";
        self.current(ACTION)?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = Event(event.map_err(|e| failed(ACTION, e))? as u64);
        self.handles().events.push(event);
        Ok(event)
    }

    unsafe fn copy_to_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: *const u8,
        bytes: usize,
    ) -> Result<()> {
        const ACTION: &str = "copying to the device";
        self.current(ACTION)?;
        // SAFETY: the caller's.
        let copied = unsafe {
            sys::cuMemcpyHtoDAsync_v2(to.0, from.cast(), bytes, stream_of(stream)).result()
        };
        copied.map_err(|e| failed(ACTION, e))
    }

    unsafe fn copy_to_host(
        &self,
        stream: Stream,
        to: *mut u8,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()> {
        const ACTION: &str = "copying to the host";
        self.current(ACTION)?;
        // SAFETY: the caller's.
        let copied = unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.cast(), from.0, bytes, stream_of(stream)).result()
        };
        copied.map_err(|e| failed(ACTION, e))
    }

    unsafe fn copy_on_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()> {
        const ACTION: &str = "copying on the device";
        self.current(ACTION)?;
        // SAFETY: the caller's.
        let copied = unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, stream_of(stream)) };
        copied.map_err(|e| failed(ACTION, e))
    }

    fn kernel(&self, name: &'static str) -> Result<Kernel> {
        if let Some(kernel) = self.handles().kernels.get(name) {
            return Ok(*kernel);
        }
        const ACTION: &str = "looking for a kernel";
        self.current(ACTION)?;
        let c_name = CString::new(name).map_err(|e| DriverError::failed(ACTION, e.to_string()))?;
        // SAFETY: the module lives as long as the driver.
        let function = unsafe { result::module::get_function(self.module, c_name) };
        let kernel = Kernel(function.map_err(|e| failed(ACTION, e))? as u64);
        self.handles().kernels.insert(name, kernel);
        Ok(kernel)
    }

    unsafe fn launch(&self, stream: Stream, launch: Launch<'_>) -> Result<()> {
        const ACTION: &str = "launching a kernel";
        self.current(ACTION)?;
        let Launch { kernel, grid: [x, y, z], threads, argument } = launch;
        let mut arguments = [argument.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the caller's; the driver copies the argument before it returns.
        let launched = unsafe {
            let function = kernel.0 as sys::CUfunction;
            let (grid, block) = ((x, y, z), (threads, 1, 1));
            result::launch_kernel(function, grid, block, 0, stream_of(stream), &mut arguments)
        };
        launched.map_err(|e| failed(ACTION, e))
    }

    fn record(&self, event: Event, stream: Stream) -> Result<()> {
        const ACTION: &str = "recording an event";
        self.current(ACTION)?;
        // SAFETY: both live as long as the driver.
        let recorded = unsafe { result::event::record(event_of(event), stream_of(stream)) };
        recorded.map_err(|e| failed(ACTION, e))
    }

    fn wait(&self, stream: Stream, event: Event) -> Result<()> {
        const ACTION: &str = "waiting for an event";
        self.current(ACTION)?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live as long as the driver.
        let waits =
            unsafe { result::stream::wait_event(stream_of(stream), event_of(event), flags) };
        waits.map_err(|e| failed(ACTION, e))
    }

    fn synchronize(&self, event: Event) -> Result<()> {
        const ACTION: &str = "computing";
        self.current(ACTION)?;
        // SAFETY: it lives as long as the driver.
        unsafe { result::event::synchronize(event_of(event)) }.map_err(|e| failed(ACTION, e))
    }

    fn is_complete(&self, event: Event) -> Result<bool> {
        const ACTION: &str = "asking for an event";
        self.current(ACTION)?;
        // SAFETY: it lives as long as the driver.
        match unsafe { result::event::query(event_of(event)) } {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            outcome => outcome.map(|()| true).map_err(|e| failed(ACTION, e)),
        }
    }

    fn elapsed(&self, start: Event, end: Event) -> Result<Duration> {
        const ACTION: &str = "measuring time";
        self.current(ACTION)?;
        // SAFETY: both live as long as the driver.
        let milliseconds = unsafe { result::event::elapsed(event_of(start), event_of(end)) };
        let milliseconds = milliseconds.map_err(|e| failed(ACTION, e))?;
        Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1e3))
    }

    fn synchronize_all(&self) -> Result<()> {
        self.context.synchronize().map_err(|e| failed("computing", e))
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        if self.current("closing").is_err() {
            return;
        }
        let handles = std::mem::take(&mut *self.handles());
        // SAFETY: all were made by this driver and nobody has them any more. What fails was an error before.
        unsafe {
            for event in handles.events {
                let _ = result::event::destroy(event_of(event));
            }
            for stream in handles.streams {
                let _ = result::stream::destroy(stream_of(stream));
            }
            let _ = result::module::unload(self.module);
        }
    }
}
