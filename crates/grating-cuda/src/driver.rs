//! What the backend asks of a device: memory, queues, and kernels by their names.

use std::ptr::NonNull;
use std::time::Duration;

use crate::error::Result;

/// An address in a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePointer(pub u64);

impl DevicePointer {
    /// So many bytes further on.
    #[must_use]
    pub fn offset(self, bytes: usize) -> Self {
        DevicePointer(self.0 + bytes as u64)
    }
}

/// A queue of copies and kernels, which run in order; what is in different queues has no order but by events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stream(pub u64);

/// A place in a queue that others, and the host, can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event(pub u64);

/// A kernel of the loaded module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel(pub u64);

/// A kernel with what it is to run on.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Which.
    pub kernel: Kernel,
    /// Blocks in each direction, none of which is 0.
    pub grid: [u32; 3],
    /// Threads of a block: as many as the kernel is written for.
    pub threads: u32,
    /// Its one argument, a structure, as bytes; copied before the call returns.
    pub argument: &'a [u8],
}

/// A device's driver. Handles are those of the same driver throughout.
///
/// Copies and kernels are queued; what fails in them may be an error of any later call.
pub trait Driver: std::fmt::Debug + Send + Sync + 'static {
    /// The device, for people.
    fn name(&self) -> String;

    /// Bytes of the device's memory that are free now, and all of them.
    ///
    /// # Errors
    /// The driver's.
    fn memory(&self) -> Result<(u64, u64)>;

    /// Memory of the device, aligned to 256 bytes, whose contents are unspecified.
    ///
    /// # Errors
    /// [`crate::DriverError::OutOfMemory`], or the driver's.
    fn allocate(&self, bytes: usize) -> Result<DevicePointer>;

    /// Gives memory back, after all that is queued.
    ///
    /// # Safety
    /// It comes from [`Self::allocate`], and nothing is queued later that touches it.
    unsafe fn free(&self, at: DevicePointer);

    /// Page-locked memory of the host, aligned to 256 bytes, whose contents are unspecified.
    ///
    /// # Errors
    /// [`crate::DriverError::OutOfMemory`], or the driver's.
    fn allocate_host(&self, bytes: usize) -> Result<NonNull<u8>>;

    /// Gives page-locked memory back.
    ///
    /// # Safety
    /// It comes from [`Self::allocate_host`] with so many bytes, and nothing that is queued touches it.
    unsafe fn free_host(&self, at: NonNull<u8>, bytes: usize);

    /// A new queue; it lives as long as the driver.
    ///
    /// # Errors
    /// The driver's.
    fn stream(&self) -> Result<Stream>;

    /// A new event, complete until it is recorded; it lives as long as the driver.
    ///
    /// # Errors
    /// The driver's.
    fn event(&self) -> Result<Event>;

    /// Queues a copy to the device.
    ///
    /// # Safety
    /// Both places have so many bytes until the copy has run, `from` is page-locked, and nobody writes to it meanwhile.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn copy_to_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: *const u8,
        bytes: usize,
    ) -> Result<()>;

    /// Queues a copy to the host.
    ///
    /// # Safety
    /// Both places have so many bytes until the copy has run, `to` is page-locked, and nobody else uses it meanwhile.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn copy_to_host(
        &self,
        stream: Stream,
        to: *mut u8,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()>;

    /// Queues a copy on the device, between places that do not overlap.
    ///
    /// # Safety
    /// Both places have so many bytes until the copy has run.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn copy_on_device(
        &self,
        stream: Stream,
        to: DevicePointer,
        from: DevicePointer,
        bytes: usize,
    ) -> Result<()>;

    /// Says that nobody reads what is in memory before writing to it, from this place in a queue on. For drivers that
    /// check; others do nothing.
    ///
    /// # Safety
    /// The memory has so many bytes.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn forget(&self, stream: Stream, at: DevicePointer, bytes: usize) -> Result<()> {
        let _ = (stream, at, bytes);
        Ok(())
    }

    /// A kernel by its name in `kernels/`.
    ///
    /// # Errors
    /// The driver's, if there is none.
    fn kernel(&self, name: &'static str) -> Result<Kernel>;

    /// Queues a kernel.
    ///
    /// # Safety
    /// The argument is what the kernel takes, and what it points to stays until it has run.
    ///
    /// # Errors
    /// The driver's.
    unsafe fn launch(&self, stream: Stream, launch: Launch<'_>) -> Result<()>;

    /// Queues an event: it is complete when all before it is.
    ///
    /// # Errors
    /// The driver's.
    fn record(&self, event: Event, stream: Stream) -> Result<()>;

    /// What is queued from here on waits for the event as it was recorded last.
    ///
    /// # Errors
    /// The driver's.
    fn wait(&self, stream: Stream, event: Event) -> Result<()>;

    /// Waits on the host for an event as it was recorded last.
    ///
    /// # Errors
    /// Whatever failed before it.
    fn synchronize(&self, event: Event) -> Result<()>;

    /// Whether an event is complete as it was recorded last. Waits for nothing.
    ///
    /// # Errors
    /// The driver's.
    fn is_complete(&self, event: Event) -> Result<bool>;

    /// Time between two complete events.
    ///
    /// # Errors
    /// The driver's.
    fn elapsed(&self, start: Event, end: Event) -> Result<Duration>;

    /// Waits on the host for everything.
    ///
    /// # Errors
    /// Whatever failed.
    fn synchronize_all(&self) -> Result<()>;
}
