//! Activations on the device.

use grating_backend::{Format, Precision, Then};

use crate::backend::CudaOptions;
use crate::driver::{DevicePointer, Driver};
use crate::memory::Buffer;

/// Activations on the device: hidden states and scores in f32, what lies between operations in f32 or bf16.
#[derive(Debug)]
pub struct CudaTensor<D: Driver> {
    pub(crate) buffer: Buffer<D>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Of its elements: [`Format::F32`] or [`Format::Bf16`].
    pub(crate) format: Format,
}

impl<D: Driver> CudaTensor<D> {
    pub(crate) fn at(&self) -> DevicePointer {
        self.buffer.at()
    }

    pub(crate) fn elements(&self) -> usize {
        self.rows * self.columns
    }

    pub(crate) fn bytes(&self) -> usize {
        self.elements() * element_bytes(self.format)
    }

    /// Where a row begins.
    pub(crate) fn row(&self, row: usize) -> DevicePointer {
        self.at().offset(row * self.columns * element_bytes(self.format))
    }
}

/// Bytes of an element of activations.
pub(crate) fn element_bytes(format: Format) -> usize {
    match format {
        Format::Bf16 => 2,
        _ => size_of::<f32>(),
    }
}

impl CudaOptions {
    /// Whether products with matrices that are stored so are of bf16.
    pub(crate) fn rounds(&self, format: Format) -> bool {
        match self.precision {
            Precision::Full => false,
            Precision::Exact => format == Format::Bf16,
            Precision::Fast => true,
        }
    }

    /// How an outcome is stored of which this becomes: where products would round it to bf16 anyway it is kept as that, and
    /// no score changes by a bit; with [`Precision::Fast`] what attention takes is so, too, which is rounded before norms and
    /// rotary embeddings of heads then.
    pub(crate) fn stored(&self, then: Then) -> Format {
        let narrow = match then {
            Then::Kept => false,
            Then::Attended => self.precision == Precision::Fast,
            Then::Multiplied(Some(format)) => self.rounds(format),
            Then::Multiplied(None) => self.precision == Precision::Fast,
        };
        if narrow && !self.whole_activations { Format::Bf16 } else { Format::F32 }
    }
}
