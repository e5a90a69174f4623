//! Weights as candle reads them.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use grating_io::Dtype;
use grating_model::TensorView;

/// A stored type in candle's terms.
pub(crate) enum Stored {
    Plain(DType),
    Blocks(GgmlDType),
}

/// What candle calls a type, if models are loaded with it.
pub(crate) fn stored_as(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::F32 => Stored::Plain(DType::F32),
        Dtype::F16 => Stored::Plain(DType::F16),
        Dtype::BF16 => Stored::Plain(DType::BF16),
        Dtype::Q8_0 => Stored::Blocks(GgmlDType::Q8_0),
        Dtype::Q4_0 => Stored::Blocks(GgmlDType::Q4_0),
        Dtype::Q4_1 => Stored::Blocks(GgmlDType::Q4_1),
        Dtype::Q5_0 => Stored::Blocks(GgmlDType::Q5_0),
        Dtype::Q5_1 => Stored::Blocks(GgmlDType::Q5_1),
        Dtype::Q4K => Stored::Blocks(GgmlDType::Q4K),
        Dtype::Q5K => Stored::Blocks(GgmlDType::Q5K),
        Dtype::Q6K => Stored::Blocks(GgmlDType::Q6K),
        _ => return None,
    })
}

impl Stored {
    /// The elements of `view` in f32.
    pub(crate) fn decode(&self, view: TensorView<'_>, device: &Device) -> Result<Tensor> {
        match self {
            Stored::Plain(dtype) => {
                Tensor::from_raw_buffer(view.bytes(), *dtype, view.shape(), device)?
                    .to_dtype(DType::F32)
            }
            Stored::Blocks(dtype) => {
                // Candle's blocks are aligned as their widest field, a half.
                let halves: Vec<u16> = bytemuck::pod_collect_to_vec(view.bytes());
                let bytes = Cow::Borrowed(bytemuck::cast_slice(&halves));
                let blocks = QStorage::from_data(bytes, device, *dtype)?;
                QTensor::new(blocks, view.shape())?.dequantize(device)
            }
        }
    }
}
