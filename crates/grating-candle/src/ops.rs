//! [`Ops`] on candle's tensors.

use candle_core::{D, DType, Device, Tensor};
use grating_io::Dtype;
use grating_model::{Activation, Affine, Heads, ModelError, Ops, Result, Span, TensorView};

/// Most elements of one block of attention scores: 64 MiB of f32. The block depends only on the sequence's own
/// length, never on what else is in the chunk.
const MAX_SCORE_ELEMENTS: usize = 16 << 20;

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

impl Ops for CandleOps {
    type Tensor = Tensor;
    type Weight<'w> = Tensor;

    fn name(&self) -> String {
        format!("candle ({:?})", self.device.location())
    }

    fn bind<'w>(&self, view: TensorView<'w>) -> Result<Tensor> {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            blocks if blocks.is_quantized() => {
                return Ok(Tensor::from_vec(view.to_f32(), view.shape(), &self.device)?);
            }
            other => {
                return Err(ModelError::UnsupportedDtype {
                    tensor: "(weight)".into(),
                    found: other,
                });
            }
        };
        let stored = Tensor::from_raw_buffer(view.bytes(), dtype, view.shape(), &self.device)?;
        Ok(stored.to_dtype(DType::F32)?)
    }

    fn upload(&self, data: Vec<f32>, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(Tensor::from_vec(data, (rows, columns), &self.device)?)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok(x.flatten_all()?.to_vec1()?)
    }

    fn linear<const N: usize>(
        &self,
        x: &Tensor,
        maps: [Affine<'_, Tensor>; N],
    ) -> Result<[Tensor; N]> {
        let mut outputs = Vec::with_capacity(N);
        for Affine { weight, bias } in maps {
            let y = x.matmul(&weight.t()?)?;
            outputs.push(match bias {
                Some(bias) => y.broadcast_add(bias)?,
                None => y,
            });
        }
        Ok(outputs.try_into().expect("one output for each map"))
    }

    fn linear_add(&self, sum: Tensor, x: &Tensor, map: Affine<'_, Tensor>) -> Result<Tensor> {
        let [y] = self.linear(x, [map])?;
        Ok((sum + y)?)
    }

    fn gate(&self, gate: Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
        Ok((self.activate(gate, activation)? * up)?)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        self.rms_norm_heads(x.clone(), weight, eps)
    }

    fn rms_norm_heads(&self, x: Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let group = weight.dim(0)?;
        let x = x.reshape((rows, columns / group, group))?;
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?;
        Ok(x.broadcast_mul(weight)?.reshape((rows, columns))?)
    }

    fn layer_norm(&self, x: Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
        Ok(x.broadcast_mul(weight)?.broadcast_add(bias)?)
    }

    fn activate(&self, x: Tensor, activation: Activation) -> Result<Tensor> {
        Ok(match activation {
            Activation::Silu => x.silu()?,
            Activation::GeluErf => x.gelu_erf()?,
            Activation::GeluTanh => x.gelu()?,
            Activation::Relu => x.relu()?,
            Activation::Tanh => x.tanh()?,
        })
    }

    fn neighbours_to_halves(&self, x: Tensor, head_dim: usize) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let pairs = x.reshape((rows, columns / head_dim, head_dim / 2, 2))?;
        Ok(pairs.transpose(2, 3)?.contiguous()?.reshape((rows, columns))?)
    }

    fn rope(
        &self,
        x: Tensor,
        cos: &Tensor,
        sin: &Tensor,
        head_dim: usize,
        positions: &[u32],
    ) -> Result<Tensor> {
        let (rows, columns) = x.dims2()?;
        let half = head_dim / 2;
        let x = x.reshape((rows, columns / head_dim, head_dim))?;
        let positions = Tensor::new(positions, &self.device)?;
        let of_rows = |table: &Tensor| table.index_select(&positions, 0)?.unsqueeze(1);
        let (cos, sin) = (of_rows(cos)?, of_rows(sin)?);
        let (low, high) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
        let turned_low = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
        let turned_high = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
        Ok(Tensor::cat(&[turned_low, turned_high], 2)?.reshape((rows, columns))?)
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
        let mut outputs = Vec::with_capacity(spans.len());
        for span in spans {
            let q = q.narrow(0, span.queries.start, span.queries.len())?;
            let own = |x: &Tensor| x.narrow(0, span.keys.start, span.keys.len());
            let (k, v) = (own(k)?, own(v)?);
            let mut first = span.first_query;
            let (k, v) = match prefix {
                None => (k, v),
                Some((prefix_k, prefix_v)) => {
                    first += prefix_k.dim(0)?;
                    (Tensor::cat(&[prefix_k, &k], 0)?, Tensor::cat(&[prefix_v, &v], 0)?)
                }
            };
            outputs.push(self.attend(&q, &k, &v, heads, first)?);
        }
        Ok(Tensor::cat(&outputs, 0)?)
    }

    fn select_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        Ok(x.index_select(&Tensor::new(rows, &self.device)?, 0)?)
    }
}

impl CandleOps {
    /// Attention of queries at consecutive positions from `first` on over all keys of one sequence, in blocks of
    /// query rows.
    fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        heads: Heads,
        first: usize,
    ) -> Result<Tensor> {
        let Heads { queries: heads, keys: kv_heads, width: head_dim, causal } = heads;
        let (queries, tokens) = (q.dim(0)?, k.dim(0)?);
        let group = heads / kv_heads;
        // [t, kv * d] -> [kv, t, d]
        let by_head =
            |x: &Tensor| x.reshape((tokens, kv_heads, head_dim))?.transpose(0, 1)?.contiguous();
        let (k, v) = (by_head(k)?, by_head(v)?);
        let scale = 1.0 / (head_dim as f64).sqrt();
        let block = (MAX_SCORE_ELEMENTS / (heads * tokens)).clamp(1, queries);

        let mut outputs = Vec::new();
        for start in (0..queries).step_by(block) {
            let rows = block.min(queries - start);
            let seen = if causal { first + start + rows } else { tokens };
            let (k, v) = (k.narrow(1, 0, seen)?, v.narrow(1, 0, seen)?);
            // [rows, heads * d] -> [kv, group * rows, d]: the query heads of a group share their keys
            let q = q
                .narrow(0, start, rows)?
                .reshape((rows, kv_heads, group, head_dim))?
                .permute((1, 2, 0, 3))?
                .contiguous()?
                .reshape((kv_heads, group * rows, head_dim))?;
            let mut scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * scale)?;
            if causal {
                let mask = self.causal_mask(first + start, rows, seen)?;
                scores = scores
                    .reshape((kv_heads, group, rows, seen))?
                    .broadcast_add(&mask)?
                    .reshape((kv_heads, group * rows, seen))?;
            }
            let out = softmax(&scores)?.matmul(&v.contiguous()?)?;
            outputs.push(
                out.reshape((kv_heads, group, rows, head_dim))?
                    .permute((2, 0, 1, 3))?
                    .contiguous()?
                    .reshape((rows, heads * head_dim))?,
            );
        }
        Ok(Tensor::cat(&outputs, 0)?)
    }

    /// `[rows, seen]`: 0 where the query at `start + row` may look, minus infinity elsewhere.
    fn causal_mask(&self, start: usize, rows: usize, seen: usize) -> Result<Tensor> {
        let mask = (0..rows)
            .flat_map(|row| {
                (0..seen).map(move |key| if key > start + row { f32::NEG_INFINITY } else { 0.0 })
            })
            .collect();
        Ok(Tensor::from_vec(mask, (rows, seen), &self.device)?)
    }
}

/// Softmax over the last dimension, shifted by the maximum so that no exponent overflows.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    Ok(x.broadcast_div(&x.sum_keepdim(D::Minus1)?)?)
}
