//! Weights as candle reads them.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use grating_backend::Format;

/// A stored format in candle's terms.
enum Stored {
    Plain(DType),
    Blocks(GgmlDType),
}

fn stored_as(format: Format) -> Stored {
    match format {
        Format::F32 => Stored::Plain(DType::F32),
        Format::F16 => Stored::Plain(DType::F16),
        Format::Bf16 => Stored::Plain(DType::BF16),
        Format::Q8_0 => Stored::Blocks(GgmlDType::Q8_0),
        Format::Q4_0 => Stored::Blocks(GgmlDType::Q4_0),
        Format::Q4_1 => Stored::Blocks(GgmlDType::Q4_1),
        Format::Q5_0 => Stored::Blocks(GgmlDType::Q5_0),
        Format::Q5_1 => Stored::Blocks(GgmlDType::Q5_1),
        Format::Q4K => Stored::Blocks(GgmlDType::Q4K),
        Format::Q5K => Stored::Blocks(GgmlDType::Q5K),
        Format::Q6K => Stored::Blocks(GgmlDType::Q6K),
    }
}

/// The elements in f32.
pub(crate) fn decode(
    format: Format,
    shape: &[usize],
    bytes: &[u8],
    device: &Device,
) -> Result<Tensor> {
    match stored_as(format) {
        Stored::Plain(dtype) => {
            Tensor::from_raw_buffer(bytes, dtype, shape, device)?.to_dtype(DType::F32)
        }
        Stored::Blocks(dtype) => {
            // Candle's blocks are aligned as their widest field, a half.
            let halves: Vec<u16> = bytemuck::pod_collect_to_vec(bytes);
            let bytes = Cow::Borrowed(bytemuck::cast_slice(&halves));
            let blocks = QStorage::from_data(bytes, device, dtype)?;
            QTensor::new(blocks, shape)?.dequantize(device)
        }
    }
}
