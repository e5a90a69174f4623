//! A backend on candle's tensors: the reference that faster ones are held against, and the way to Metal.
//!
//! # Brief overview
//!
//! [`CandleOps`] implements [`Backend`] and [`Ops`]; [`CandleOps::cpu`] makes one, [`CandleOps::metal`] one on the GPU of a
//! Mac, with the feature of that name. Any model of `grating-model` runs on it, by itself or in the whole engine. Everything is composed of candle's own operations, computed in f32, and of
//! weights in block formats candle's own decoding: nothing is shared with the kernels that it judges. Attention runs
//! sequence by sequence and in blocks of query rows, so that the score matrix of a long text stays bounded.
//!
//! Tests depend on this crate, and builds for Metal, so that candle is in nobody's who does not ask for it.
//!
//! # Example
//!
//! ```
//! use grating_candle::CandleOps;
//! use grating_backend::{Activation, Backend, BackendError, Ops};
//!
//! let ops = CandleOps::cpu();
//! let x = ops.written(2, 2, |x| {
//!     x.copy_from_slice(&[-1.0, 2.0, -3.0, 4.0]);
//!     Ok::<(), BackendError>(())
//! })?;
//! let x = ops.activate(x, Activation::Relu)?;
//! assert_eq!(ops.wait(ops.read(&x)?)?, [0.0, 2.0, 0.0, 4.0]);
//! # Ok::<(), BackendError>(())
//! ```
#![deny(unsafe_code)]

mod attention;
mod distance;
mod mass;
mod metal;
mod weights;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, Backend, BackendError, ByDistance, Caps,
    HostBlock, Meter, Ops, OverHeads, Ragged, Result, Rows, Source, TensorRef, Widths, Workspace,
};

pub use metal::MetalError;

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

    fn on(device: Device) -> Self {
        CandleOps { device }
    }

    fn indices(&self, indices: impl IntoIterator<Item = u32>) -> candle_core::Result<Tensor> {
        let indices = Vec::from_iter(indices);
        let count = indices.len();
        Tensor::from_vec(indices, count, &self.device)
    }
}

/// Where a chunk's rows are: the host's form, and indices on the device.
#[derive(Debug, Clone)]
pub struct CandleLayout {
    ragged: Ragged,
    /// Position of each row, `u32`.
    positions: Tensor,
    /// Position of each sequence's scored row.
    scored_positions: Tensor,
    scored_rows: Tensor,
}

/// Candle's errors in the backend's terms.
fn run<T>(work: impl FnOnce() -> candle_core::Result<T>) -> Result<T> {
    work().map_err(BackendError::failed)
}

impl Backend for CandleOps {
    type Tensor = Tensor;
    /// The host's block, whose tensors are decoded, and copied to the device, as they are bound.
    type Slot = Arc<dyn HostBlock>;
    type Weight<'s> = Tensor;
    type Layout = CandleLayout;
    type Pending = Tensor;

    fn caps(&self) -> Caps {
        // A Mac's GPU has the host's memory, and slots are the host's blocks.
        Caps::on_host(format!("candle ({:?})", self.device.location()))
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }

    fn admit(&self, block: Arc<dyn HostBlock>, _spare: Option<Self::Slot>) -> Result<Self::Slot> {
        Ok(block)
    }

    fn bind(&self, slot: &Self::Slot, tensor: TensorRef<'_>) -> Result<Tensor> {
        let bytes = slot.bytes(tensor.index);
        run(|| {
            let elements = weights::decode(tensor.format, tensor.shape, bytes, &self.device)?;
            if tensor.one_added { elements + 1.0 } else { Ok(elements) }
        })
    }

    fn layout(&self, rows: &Ragged) -> Result<CandleLayout> {
        run(|| {
            Ok(CandleLayout {
                positions: self.indices(rows.positions())?,
                scored_positions: self.indices(rows.scored_positions())?,
                scored_rows: self.indices(rows.scored_rows().iter().map(|&row| row as u32))?,
                ragged: rows.clone(),
            })
        })
    }

    fn empty(&self, rows: usize, columns: usize) -> Result<Tensor> {
        run(|| Tensor::zeros((rows, columns), DType::F32, &self.device))
    }

    fn written<E: From<BackendError>>(
        &self,
        rows: usize,
        columns: usize,
        write: impl FnOnce(&mut [f32]) -> Result<(), E>,
    ) -> Result<Tensor, E> {
        let mut elements = vec![0.0; rows * columns];
        write(&mut elements)?;
        Ok(run(|| Tensor::from_vec(elements, (rows, columns), &self.device))?)
    }

    fn copy_rows(
        &self,
        out: &mut Tensor,
        at: usize,
        source: Source<'_, Tensor>,
        rows: Range<usize>,
    ) -> Result<()> {
        run(|| {
            let source = match source {
                Source::Tensor(tensor) => tensor.narrow(0, rows.start, rows.len())?,
                Source::Host(bytes) => {
                    let columns = out.dim(1)?;
                    let elements: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
                    let part = elements[rows.start * columns..rows.end * columns].to_vec();
                    Tensor::from_vec(part, (rows.len(), columns), &self.device)?
                }
            };
            out.slice_set(&source.contiguous()?, 0, at)
        })
    }

    fn park(&self, x: &Tensor, out: &mut [u8]) -> Result<()> {
        let elements = self.wait(self.read(x)?)?;
        out.copy_from_slice(bytemuck::cast_slice(&elements));
        Ok(())
    }

    fn read(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn wait(&self, pending: Tensor) -> Result<Vec<f32>> {
        run(|| pending.flatten_all()?.to_vec1())
    }

    /// The widest tensors of a layer, and its weights in f32. Candle allocates by itself, so this is an estimate.
    fn workspace(&self, widths: &Widths, longest: usize) -> Workspace {
        let Widths { hidden, intermediate, heads, kv_heads, head_dim, distance_rows, .. } = *widths;
        let scores = match distance_rows {
            0 => heads * longest,
            rows => heads * (4 * longest + 2 * rows),
        };
        let attention = hidden + 3 * (heads + kv_heads) * head_dim + scores;
        let feed_forward = 2 * hidden + 4 * intermediate;
        let distances = size_of::<f32>() * distance_rows * (2 * hidden + 2 * heads * head_dim);
        let per_token = size_of::<f32>() * attention.max(feed_forward);
        Workspace::new(per_token, (1 << 20) + distances + decoded_bytes(widths))
    }

    fn meter(&self) -> Meter {
        Meter::default()
    }

    fn trim(&self) {}
}

impl Ops for CandleOps {
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

    fn add(&self, sum: Tensor, x: &Tensor) -> Result<Tensor> {
        run(|| sum + x)
    }

    fn scaled(&self, x: Tensor, factor: f32) -> Result<Tensor> {
        run(|| x.affine(f64::from(factor), 0.0))
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

    fn layer_norm(
        &self,
        x: Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor> {
        run(|| {
            let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
            let x = x.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
            let x = x.broadcast_mul(weight)?;
            match bias {
                Some(bias) => x.broadcast_add(bias),
                None => Ok(x),
            }
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
        (cos, sin): (&Tensor, &Tensor),
        head_dim: usize,
        layout: &CandleLayout,
        rows: Rows,
    ) -> Result<Tensor> {
        let positions = match rows {
            Rows::All => &layout.positions,
            Rows::Scored => &layout.scored_positions,
        };
        run(|| {
            let (rows, columns) = x.dims2()?;
            let half = head_dim / 2;
            let x = x.reshape((rows, columns / head_dim, head_dim))?;
            let of_rows = |table: &Tensor| table.index_select(positions, 0)?.unsqueeze(1);
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
        keys_values: (&Tensor, &Tensor),
        prefix: Option<(&Tensor, &Tensor)>,
        spec: &AttentionSpec,
        layout: &CandleLayout,
        rows: Rows,
    ) -> Result<Tensor> {
        run(|| attention::attention(&q, keys_values, prefix, spec, &layout.ragged, rows))
    }

    fn attention_by_distance(
        &self,
        q: Tensor,
        keys_values: (&Tensor, &Tensor),
        by_distance: ByDistance<'_, Tensor>,
        spec: &AttentionSpec,
        layout: &CandleLayout,
        rows: Rows,
    ) -> Result<Tensor> {
        run(|| distance::attention(&q, keys_values, &by_distance, spec, &layout.ragged, rows))
    }

    fn attention_mass(
        &self,
        attended: Attended<'_, Tensor>,
        spec: &AttentionSpec,
        over: OverHeads,
        layout: &CandleLayout,
    ) -> Result<Tensor> {
        run(|| mass::mass(&attended, spec, over, &layout.ragged))
    }

    /// Candle's operations leave their input as it is.
    fn copied(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    fn scored_rows(&self, x: &Tensor, layout: &CandleLayout) -> Result<Tensor> {
        run(|| x.index_select(&layout.scored_rows, 0))
    }

    fn mean_rows(&self, x: &Tensor, layout: &CandleLayout) -> Result<Tensor> {
        run(|| {
            let mean = |rows: Range<usize>| x.narrow(0, rows.start, rows.len())?.mean_keepdim(0);
            let means = layout.ragged.sequences().map(mean);
            Tensor::cat(&means.collect::<candle_core::Result<Vec<_>>>()?, 0)
        })
    }
}

/// A layer's matrices as they are multiplied, in f32.
fn decoded_bytes(widths: &Widths) -> usize {
    let Widths { hidden, intermediate, gated, heads, kv_heads, head_dim, .. } = *widths;
    let attention = 2 * (heads + kv_heads) * head_dim;
    let feed_forward = if gated { 3 } else { 2 } * intermediate;
    size_of::<f32>() * hidden * (attention + feed_forward)
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
