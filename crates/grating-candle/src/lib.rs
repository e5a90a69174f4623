//! The tensor operations of `grating-model` on candle's tensors: the reference that faster implementations are held
//! against, and the way to CUDA and Metal.
//!
//! # Brief overview
//!
//! [`CandleOps`] implements [`Ops`]; [`CandleOps::cpu`] makes one, [`CandleOps::on`] one on another of candle's devices.
//! Any `Model` of `grating-model` runs on it. Everything is composed of candle's own operations, computed in f32, and of
//! weights in block formats candle's own decoding: nothing is shared with the kernels that it judges. Attention runs
//! sequence by sequence and in blocks of query rows, so that the score matrix of a long text stays bounded.
//!
//! Only tests depend on this crate, so that candle is in nobody's build who does not ask for it.
//!
//! # Example
//!
//! ```
//! use grating_candle::CandleOps;
//! use grating_model::{Activation, Ops};
//!
//! let ops = CandleOps::cpu();
//! let x = ops.upload(vec![-1.0, 2.0, -3.0, 4.0], 2, 2)?;
//! let x = ops.activate(x, Activation::Relu)?;
//! assert_eq!(ops.download(&x)?, [0.0, 2.0, 0.0, 4.0]);
//! # Ok::<(), grating_model::ModelError>(())
//! ```
#![deny(unsafe_code)]

mod attention;
mod weights;

use candle_core::{D, Device, Tensor};
use grating_model::{Activation, Affine, Heads, ModelError, Ops, Result, Span, TensorView};

/// Tensor operations through candle on one of its devices.
#[derive(Debug, Clone)]
pub struct CandleOps {
    device: Device,
}

impl CandleOps {
    /// On the CPU.
    pub fn cpu() -> Self {
        CandleOps { device: Device::Cpu }
    }

    /// On any candle device, e.g. `Device::new_cuda(0)` with the `cuda` feature.
    pub fn on(device: Device) -> Self {
        CandleOps { device }
    }
}

/// Candle's errors in the vocabulary's terms.
fn run<T>(work: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    work().map_err(|error| ModelError::Backend { reason: error.to_string() })
}

impl Ops for CandleOps {
    type Tensor = Tensor;
    type Weight<'w> = Tensor;

    fn name(&self) -> String {
        format!("candle ({:?})", self.device.location())
    }

    fn bind<'w>(&self, view: TensorView<'w>) -> Result<Tensor> {
        let stored = weights::stored_as(view.dtype()).ok_or_else(|| {
            ModelError::UnsupportedDtype { tensor: "(weight)".into(), found: view.dtype() }
        })?;
        run(|| stored.decode(view, &self.device))
    }

    fn upload(&self, data: Vec<f32>, rows: usize, columns: usize) -> Result<Tensor> {
        run(|| Tensor::from_vec(data, (rows, columns), &self.device))
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        run(|| x.flatten_all()?.to_vec1())
    }

    fn linear<const N: usize>(
        &self,
        x: &Tensor,
        maps: [Affine<'_, Tensor>; N],
    ) -> Result<[Tensor; N]> {
        let outputs: Result<Vec<Tensor>> = maps.iter().map(|map| run(|| affine(x, map))).collect();
        Ok(outputs?.try_into().expect("one output for each map"))
    }

    fn linear_add(&self, sum: Tensor, x: &Tensor, map: Affine<'_, Tensor>) -> Result<Tensor> {
        run(|| sum + affine(x, &map)?)
    }

    fn gate(&self, gate: Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        run(|| activate(&gate, activation)? * up)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        run(|| rms_norm(x, weight, eps))
    }

    fn rms_norm_heads(&self, x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        run(|| rms_norm(&x, weight, eps))
    }

    fn layer_norm(&self, x: Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        run(|| {
            let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
            let x = x.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
            x.broadcast_mul(weight)?.broadcast_add(bias)
        })
    }

    fn activate(&self, x: Tensor, activation: Activation) -> Result<Tensor> {
        run(|| activate(&x, activation))
    }

    fn neighbours_to_halves(&self, x: Tensor, head_dim: usize) -> Result<Tensor> {
        run(|| {
            let (rows, columns) = x.dims2()?;
            let pairs = x.reshape((rows, columns / head_dim, head_dim / 2, 2))?;
            pairs.transpose(2, 3)?.contiguous()?.reshape((rows, columns))
        })
    }

    fn rope(
        &self,
        x: Tensor,
        cos: &Tensor,
        sin: &Tensor,
        head_dim: usize,
        positions: &[u32],
    ) -> Result<Tensor> {
        run(|| {
            let (rows, columns) = x.dims2()?;
            let half = head_dim / 2;
            let x = x.reshape((rows, columns / head_dim, head_dim))?;
            let positions = Tensor::new(positions, &self.device)?;
            let of_rows = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
            let (cos, sin) = (of_rows(cos)?, of_rows(sin)?);
            let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
            let rotated_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
            let rotated_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
            Tensor::cat(&[rotated_low, rotated_high], 2)?.reshape((rows, columns))
        })
    }

    fn attention(
        &self,
        q: Tensor,
        k: &Tensor,
        v: &Tensor,
        prefix: Option<(&Tensor, &Tensor)>,
        heads: Heads,
        spans: &[Span],
    ) -> Result<Tensor> {
        run(|| attention::attention(&q, k, v, prefix, heads, spans))
    }

    fn select_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        run(|| x.index_select(&Tensor::new(rows, &self.device)?, 0))
    }
}

fn affine(x: &Tensor, map: &Affine<'_, Tensor>) -> candle_core::Result<Tensor> {
    let y = x.matmul(&map.weight.t()?)?;
    match map.bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// Norm of each group of as many columns as the weight has.
fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> candle_core::Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let group = weight.dim(0)?;
    let x = x.reshape((rows, columns / group, group))?;
    let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
    let x = x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?;
    x.broadcast_mul(weight)?.reshape((rows, columns))
}

fn activate(x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::GeluErf => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
    }
}
