//! A device's memory with what moves in and out of it.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use grating_backend::{
    Backend, BackendError, Caps, Distances, Format, HostAllocator, HostBlock, Meter,
    OperationTimes, Precision, Ragged, Result, Source, TensorRef, Widths, Workspace,
};

use crate::blocks::{self, BeingCopied};
use crate::driver::Driver;
use crate::layout::{CudaLayout, Tables};
use crate::link::Link;
use crate::memory::{Buffer, Memory, Use};
use crate::slot::{CudaSlot, CudaWeight, Queues};
use crate::staging::{Return, Returns, Staging};
use crate::tensor::{CudaTensor, element_bytes};

/// How a [`CudaBackend`] is to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Which matrices are multiplied on tensor cores, their inputs rounded to bf16: none with [`Precision::Full`],
    /// those stored as bf16 with [`Precision::Exact`], all with [`Precision::Fast`], and attention's products with it. The
    /// others are multiplied in f32. What is rounded for all that take it is kept as bf16 between operations; hidden states
    /// and scores are f32.
    pub precision: Precision,
    /// Whether all of what lies between operations is kept in f32, whatever the precision: to see what bf16 costs.
    pub whole_activations: bool,
    /// Most bytes of the device's memory, buffers that are kept for later included. None: what the driver gives.
    pub memory_budget: Option<u64>,
}

impl CudaOptions {
    /// In this precision.
    #[must_use]
    pub const fn with_precision(self, precision: Precision) -> Self {
        CudaOptions { precision, ..self }
    }

    /// With everything between operations in f32, or not.
    #[must_use]
    pub const fn with_whole_activations(self, whole_activations: bool) -> Self {
        CudaOptions { whole_activations, ..self }
    }

    /// Within so many bytes of the device's memory.
    #[must_use]
    pub const fn with_memory_budget(self, bytes: Option<u64>) -> Self {
        CudaOptions { memory_budget: bytes, ..self }
    }
}

/// Tensor operations on a CUDA device.
pub struct CudaBackend<D: Driver> {
    pub(crate) queues: Arc<Queues<D>>,
    /// What everything but weights passes through.
    staging: Staging<D>,
    returns: Arc<Returns<D>>,
    pub(crate) options: CudaOptions,
    /// Which row of a table each distance has, for the distances asked for last.
    pub(crate) distances: Mutex<Option<DistanceRows<D>>>,
}

/// Of these distances, up to so many tokens.
pub(crate) type DistanceRows<D> = (Distances, usize, Arc<Buffer<D>>);

impl<D: Driver> fmt::Debug for CudaBackend<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaBackend").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<D: Driver> CudaBackend<D> {
    /// On a device.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(driver: D, options: CudaOptions) -> crate::Result<Self> {
        let driver = Arc::new(driver);
        let (compute, copy) = (driver.stream()?, driver.stream()?);
        let memory = Memory::new(Arc::clone(&driver), compute, options.memory_budget);
        let weights = Staging::new(&driver, copy)?;
        let staging = Staging::new(&driver, compute)?;
        let returns = Returns::new(&driver);
        let link = Link::new(&driver, copy);
        let being_copied = BeingCopied::new(&driver);
        let queues = Arc::new(Queues {
            driver,
            compute,
            copy,
            memory,
            weights,
            link,
            page_locked: Arc::default(),
            being_copied,
            events: Mutex::default(),
        });
        Ok(CudaBackend { queues, staging, returns, options, distances: Mutex::default() })
    }

    /// The device's driver.
    pub fn driver(&self) -> &D {
        &self.queues.driver
    }

    pub(crate) fn tensor(
        &self,
        rows: usize,
        columns: usize,
        format: Format,
    ) -> crate::Result<CudaTensor<D>> {
        let bytes = rows * columns * element_bytes(format);
        let buffer = self.queues.memory.take(bytes, Use::Activations)?;
        Ok(CudaTensor { buffer, rows, columns, format })
    }

    /// Numbers of the host's on the device.
    pub(crate) fn uploaded(&self, bytes: &[u8]) -> crate::Result<Buffer<D>> {
        let buffer = self.queues.memory.take(bytes.len(), Use::Activations)?;
        // SAFETY: the buffer has so many bytes, and is used again in the stream's order alone.
        unsafe { self.staging.upload(buffer.at(), bytes)? };
        Ok(buffer)
    }

    /// In which types products with matrices of such formats are taken, `bf16, f32` for instance. Scores of two backends
    /// where it is the same differ by no more than rounding in f32.
    pub fn products(&self, formats: impl IntoIterator<Item = Format>) -> String {
        let kind = |format| if self.options.rounds(format) { "bf16" } else { "f32" };
        Vec::from_iter(BTreeSet::from_iter(formats.into_iter().map(kind))).join(", ")
    }
}

impl<D: Driver> Backend for CudaBackend<D> {
    type Tensor = CudaTensor<D>;
    type Slot = CudaSlot<D>;
    type Weight<'s> = CudaWeight<'s, D>;
    type Layout = CudaLayout<D>;
    type Pending = Return<D>;

    fn caps(&self) -> Caps {
        let name = self.queues.driver.name();
        let mut caps = Caps::on_host(format!("cuda ({name}, {})", self.options.precision));
        caps.shares_host_memory = false;
        caps
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn admit(&self, block: Arc<dyn HostBlock>, spare: Option<CudaSlot<D>>) -> Result<CudaSlot<D>> {
        self.queues.being_copied.let_go();
        Ok(CudaSlot::fill(&self.queues, block, spare)?)
    }

    fn host_memory(&self) -> Option<HostAllocator> {
        Some(blocks::allocator(&self.queues.driver, &self.queues.page_locked))
    }

    fn finish_copies(&self) -> Result<()> {
        Ok(self.queues.being_copied.finish()?)
    }

    fn bind<'s>(&self, slot: &'s CudaSlot<D>, tensor: TensorRef<'_>) -> Result<CudaWeight<'s, D>> {
        let plain = matches!(tensor.format, Format::F32 | Format::F16 | Format::Bf16);
        if tensor.shape.len() == 1 && !plain {
            return Err(BackendError::Unsupported { format: tensor.format });
        }
        let rounds = !tensor.unrounded && self.options.rounds(tensor.format);
        Ok(slot.bind(&tensor, rounds)?)
    }

    fn layout(&self, rows: &Ragged) -> Result<CudaLayout<D>> {
        let tables = Tables::new(rows);
        let buffer = self.uploaded(bytemuck::cast_slice(&tables.numbers))?;
        Ok(tables.on_device(rows, buffer))
    }

    fn empty(&self, rows: usize, columns: usize) -> Result<CudaTensor<D>> {
        Ok(self.tensor(rows, columns, Format::F32)?)
    }

    fn written<E: From<BackendError>>(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<CudaTensor<D>, E> {
        let mut elements = vec![0.0; rows * columns];
        write(&mut elements)?;
        let buffer = self.uploaded(bytemuck::cast_slice(&elements));
        let buffer = buffer.map_err(|error| E::from(error.into()))?;
        Ok(CudaTensor { buffer, rows, columns, format: Format::F32 })
    }

    fn copy_rows(
        &self,
        out: &mut CudaTensor<D>,
        at: usize,
        source: Source<'_, CudaTensor<D>>,
        rows: Range<usize>,
    ) -> Result<()> {
        let row_bytes = out.columns * element_bytes(out.format);
        let count = rows.len() * row_bytes;
        assert!(at + rows.len() <= out.rows, "no room for {rows:?} at {at}");
        match source {
            Source::Tensor(tensor) => {
                assert!(rows.end <= tensor.rows && tensor.columns == out.columns, "{rows:?}");
                let converted = self.converted(tensor, out.format)?;
                let tensor = converted.as_ref().unwrap_or(tensor);
                if count > 0 {
                    let Queues { driver, compute, .. } = &*self.queues;
                    // SAFETY: both have these rows, and are used again in the stream's order alone.
                    unsafe {
                        driver.copy_on_device(*compute, out.row(at), tensor.row(rows.start), count)
                    }?;
                }
            }
            Source::Host(bytes) => {
                assert_eq!(out.format, Format::F32, "as it was parked");
                let bytes = &bytes[rows.start * row_bytes..][..count];
                // SAFETY: the tensor has these rows, and is used again in the stream's order alone.
                unsafe { self.staging.upload(out.row(at), bytes) }?;
            }
        }
        Ok(())
    }

    fn park(&self, x: &CudaTensor<D>, out: &mut [u8]) -> Result<()> {
        let converted = self.converted(x, Format::F32)?;
        let x = converted.as_ref().unwrap_or(x);
        assert_eq!(out.len(), x.bytes(), "a tensor is parked whole");
        // SAFETY: the tensor has so many bytes.
        Ok(unsafe { self.staging.download(out, x.at()) }?)
    }

    fn read(&self, x: &CudaTensor<D>) -> Result<Return<D>> {
        let converted = self.converted(x, Format::F32)?;
        let x = converted.as_ref().unwrap_or(x);
        // SAFETY: the tensor has so many bytes, and is used again in the stream's order alone.
        Ok(unsafe { self.returns.read(self.queues.compute, x.at(), x.bytes()) }?)
    }

    fn wait(&self, pending: Return<D>) -> Result<Vec<f32>> {
        let numbers = pending.wait()?;
        // By now the copies before it have run, too.
        self.queues.being_copied.let_go();
        Ok(numbers)
    }

    fn workspace(&self, widths: &Widths, longest: usize) -> Workspace {
        crate::workspace::of_options(widths, longest, &self.options)
    }

    fn meter(&self) -> Meter {
        let Queues { memory, link, .. } = &*self.queues;
        let meter = Meter::new(memory.peak(), OperationTimes::default());
        let meter = meter.with_copies(link.counted()).with_copy_spans(link.spans());
        meter.with_device_memory(memory.held())
    }

    fn trim(&self) {
        self.distances.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        // What fails now is lost with the copies, which nobody needs; the next use of the device tells.
        let _ = self.queues.being_copied.finish();
        self.queues.link.reset();
        self.queues.memory.trim();
    }
}
