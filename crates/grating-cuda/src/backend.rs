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
use crate::driver::{DevicePointer, Driver};
use crate::layout::{CudaLayout, Tables};
use crate::link::Link;
use crate::memory::{Buffer, Memory, Use};
use crate::slot::{CudaSlot, CudaWeight, Queues};
use crate::staging::{Return, Returns, Staging};

/// How a [`CudaBackend`] is to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Which matrices are multiplied on tensor cores, their inputs rounded to bf16: none with [`Precision::Full`],
    /// those stored as bf16 with [`Precision::Exact`], all with [`Precision::Fast`], and attention's products with it. The
    /// others are multiplied in f32.
    pub precision: Precision,
    /// Most bytes of the device's memory, buffers that are kept for later included. None: what the driver gives.
    pub memory_budget: Option<u64>,
}

impl CudaOptions {
    /// In this precision.
    #[must_use]
    pub const fn with_precision(self, precision: Precision) -> Self {
        CudaOptions { precision, ..self }
    }

    /// Whether products with matrices that are stored so are of bf16.
    fn rounds(&self, format: Format) -> bool {
        match self.precision {
            Precision::Full => false,
            Precision::Exact => format == Format::Bf16,
            Precision::Fast => true,
        }
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

/// Activations on the device, in f32.
#[derive(Debug)]
pub struct CudaTensor<D: Driver> {
    buffer: Buffer<D>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<D: Driver> CudaTensor<D> {
    pub(crate) fn at(&self) -> DevicePointer {
        self.buffer.at()
    }

    pub(crate) fn elements(&self) -> usize {
        self.rows * self.columns
    }

    fn bytes(&self) -> usize {
        self.elements() * size_of::<f32>()
    }

    /// Where a row begins.
    fn row(&self, row: usize) -> DevicePointer {
        self.at().offset(row * self.columns * size_of::<f32>())
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
        let page_locked = Arc::default();
        let queues =
            Queues { driver, compute, copy, memory, weights, link, page_locked, being_copied };
        let queues = Arc::new(queues);
        Ok(CudaBackend { queues, staging, returns, options, distances: Mutex::default() })
    }

    /// The device's driver.
    pub fn driver(&self) -> &D {
        &self.queues.driver
    }

    pub(crate) fn tensor(&self, rows: usize, columns: usize) -> crate::Result<CudaTensor<D>> {
        let bytes = rows * columns * size_of::<f32>();
        let buffer = self.queues.memory.take(bytes, Use::Activations)?;
        Ok(CudaTensor { buffer, rows, columns })
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
        Ok(self.tensor(rows, columns)?)
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
        Ok(CudaTensor { buffer, rows, columns })
    }

    fn copy_rows(
        &self,
        out: &mut CudaTensor<D>,
        at: usize,
        source: Source<'_, CudaTensor<D>>,
        rows: Range<usize>,
    ) -> Result<()> {
        let row_bytes = out.columns * size_of::<f32>();
        let count = rows.len() * row_bytes;
        assert!(at + rows.len() <= out.rows, "no room for {rows:?} at {at}");
        match source {
            Source::Tensor(tensor) => {
                assert!(rows.end <= tensor.rows && tensor.columns == out.columns, "{rows:?}");
                if count > 0 {
                    let Queues { driver, compute, .. } = &*self.queues;
                    // SAFETY: both have these rows, and are used again in the stream's order alone.
                    unsafe {
                        driver.copy_on_device(*compute, out.row(at), tensor.row(rows.start), count)
                    }?;
                }
            }
            Source::Host(bytes) => {
                let bytes = &bytes[rows.start * row_bytes..][..count];
                // SAFETY: the tensor has these rows, and is used again in the stream's order alone.
                unsafe { self.staging.upload(out.row(at), bytes) }?;
            }
        }
        Ok(())
    }

    fn park(&self, x: &CudaTensor<D>, out: &mut [u8]) -> Result<()> {
        assert_eq!(out.len(), x.bytes(), "a tensor is parked whole");
        // SAFETY: the tensor has so many bytes.
        Ok(unsafe { self.staging.download(out, x.at()) }?)
    }

    fn read(&self, x: &CudaTensor<D>) -> Result<Return<D>> {
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
        crate::workspace::workspace(widths, longest)
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
