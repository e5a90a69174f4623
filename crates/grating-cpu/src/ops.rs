//! The operations, each on the kernels.

use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, ByDistance, Ops, OverHeads, Result, Rows,
};
use grating_kernels::attention::{self as kernel, Heads, KeysValues, attention};
use grating_kernels::rows as kernels;

use crate::backend::CpuLayout;
use crate::clock::Operation;
use crate::{CpuOps, CpuTensor, CpuWeight};

impl Ops for CpuOps {
    fn linear<const N: usize>(
        &self,
        x: &CpuTensor,
        maps: [Affine<'_, CpuWeight<'_>>; N],
    ) -> Result<[CpuTensor; N]> {
        let mut prepared = self.prepared();
        let mut ready = None;
        let outputs = maps.map(|Affine { weight, bias }| {
            let (matrix, compute) = weight.matrix();
            if ready != Some(compute) {
                self.prepare(x, compute, &mut prepared);
                ready = Some(compute);
            }
            let mut out = self.scratch(x.rows, matrix.rows());
            let bias = bias.map(CpuWeight::vector);
            self.clock.time(Operation::Linear, || {
                self.kernels.linear(&prepared, matrix, bias, &mut out.data, matrix.rows());
            });
            out
        });
        self.give_back(prepared);
        Ok(outputs)
    }

    fn linear_add(
        &self,
        mut sum: CpuTensor,
        x: &CpuTensor,
        Affine { weight, bias }: Affine<'_, CpuWeight<'_>>,
    ) -> Result<CpuTensor> {
        let (matrix, compute) = weight.matrix();
        let mut prepared = self.prepared();
        self.prepare(x, compute, &mut prepared);
        let bias = bias.map(CpuWeight::vector);
        self.clock.time(Operation::Linear, || {
            self.kernels.linear_add(&prepared, matrix, bias, &mut sum.data, matrix.rows());
        });
        self.give_back(prepared);
        Ok(sum)
    }

    fn add(&self, mut sum: CpuTensor, x: &CpuTensor) -> Result<CpuTensor> {
        self.clock.time(Operation::Activation, || {
            sum.data.iter_mut().zip(x.as_slice()).for_each(|(sum, x)| *sum += x);
        });
        Ok(sum)
    }

    fn scaled(&self, mut x: CpuTensor, factor: f32) -> Result<CpuTensor> {
        self.clock.time(Operation::Activation, || kernels::scale(&mut x.data, factor));
        Ok(x)
    }

    fn gate(
        &self,
        mut gate: CpuTensor,
        up: &CpuTensor,
        activation: Activation,
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Operation::Activation, || {
            kernels::gate(isa, &mut gate.data, &up.data, activation)
        });
        Ok(gate)
    }

    fn rms_norm(&self, x: &CpuTensor, weight: &CpuWeight<'_>, eps: f32) -> Result<CpuTensor> {
        let mut out = self.scratch(x.rows, x.columns);
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            kernels::rms_norm(isa, &x.data, weight.vector(), eps, &mut out.data);
        });
        Ok(out)
    }

    fn rms_norm_heads(
        &self,
        mut x: CpuTensor,
        weight: &CpuWeight<'_>,
        eps: f32,
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            kernels::rms_norm_in_place(isa, &mut x.data, weight.vector(), eps);
        });
        Ok(x)
    }

    fn layer_norm(
        &self,
        mut x: CpuTensor,
        weight: &CpuWeight<'_>,
        bias: Option<&CpuWeight<'_>>,
        eps: f32,
    ) -> Result<CpuTensor> {
        let (weight, bias) = (weight.vector(), bias.map(CpuWeight::vector));
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            kernels::layer_norm_in_place(isa, &mut x.data, weight, bias, eps);
        });
        Ok(x)
    }

    fn activate(&self, mut x: CpuTensor, activation: Activation) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock.time(Operation::Activation, || kernels::activate(isa, &mut x.data, activation));
        Ok(x)
    }

    fn neighbours_to_halves(&self, mut x: CpuTensor, head_dim: usize) -> Result<CpuTensor> {
        let mut pairs = vec![0.0; head_dim];
        for head in x.data.chunks_exact_mut(head_dim) {
            pairs.copy_from_slice(head);
            let (low, high) = head.split_at_mut(head_dim / 2);
            for ((low, high), pair) in low.iter_mut().zip(high).zip(pairs.chunks_exact(2)) {
                (*low, *high) = (pair[0], pair[1]);
            }
        }
        Ok(x)
    }

    fn rope(
        &self,
        mut x: CpuTensor,
        (cos, sin): (&CpuTensor, &CpuTensor),
        head_dim: usize,
        layout: &CpuLayout,
        rows: Rows,
    ) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        let positions = layout.positions(rows);
        self.clock.time(Operation::Rope, || {
            let (cos, sin) = (&cos.data, &sin.data);
            kernels::rope(isa, &mut x.data, x.columns, cos, sin, head_dim / 2, &positions);
        });
        Ok(x)
    }

    fn attention(
        &self,
        q: CpuTensor,
        (k, v): (&CpuTensor, &CpuTensor),
        prefix: Option<(&CpuTensor, &CpuTensor)>,
        spec: &AttentionSpec,
        layout: &CpuLayout,
        rows: Rows,
    ) -> Result<CpuTensor> {
        let heads = heads_of(spec);
        let own = layout.keys_values(k, v);
        let prefix = prefix.map(|(k, v)| KeysValues::new(&k.data, &v.data));
        let mut out = self.scratch(q.rows, q.columns);
        let isa = self.kernels.isa();
        let spans = layout.spans(rows);
        self.clock.time(Operation::Attention, || {
            attention(isa, heads, &q.data, own, prefix, &spans, &mut out.data);
        });
        Ok(out)
    }

    fn attention_by_distance(
        &self,
        q: CpuTensor,
        (k, v): (&CpuTensor, &CpuTensor),
        by_distance: ByDistance<'_, CpuTensor>,
        spec: &AttentionSpec,
        layout: &CpuLayout,
        rows: Rows,
    ) -> Result<CpuTensor> {
        let heads = heads_of(spec);
        let own = layout.keys_values(k, v);
        let by_distance = kernel_distance(&by_distance);
        let mut out = self.scratch(q.rows, q.columns);
        let isa = self.kernels.isa();
        let spans = layout.spans(rows);
        self.clock.time(Operation::Attention, || {
            let (q, out) = (&q.data, &mut out.data);
            kernel::attention_by_distance(isa, heads, q, own, by_distance, &spans, out);
        });
        Ok(out)
    }

    fn attention_mass(
        &self,
        attended: Attended<'_, CpuTensor>,
        spec: &AttentionSpec,
        over: OverHeads,
        layout: &CpuLayout,
    ) -> Result<Vec<f32>> {
        let Attended { queries, keys, prefix, by_distance, values } = attended;
        let attended = kernel::Attended {
            queries: &queries.data,
            own: layout.keys_values(keys, values.unwrap_or(keys)),
            prefix: prefix.map_or(&[], |prefix| &prefix.data),
            by_distance: by_distance.as_ref().map(kernel_distance),
            by_value: values.is_some(),
        };
        let mut out = vec![0.0; layout.ragged().tokens()];
        let spans = layout.spans(Rows::Scored);
        self.clock.time(Operation::Attention, || {
            kernel::mass(heads_of(spec), attended, over, &spans, &mut out);
        });
        Ok(out)
    }

    fn copied(&self, x: &CpuTensor) -> Result<CpuTensor> {
        let mut out = self.scratch(x.rows, x.columns);
        out.data.copy_from_slice(&x.data);
        Ok(out)
    }

    fn scored_rows(&self, x: &CpuTensor, layout: &CpuLayout) -> Result<CpuTensor> {
        let rows = layout.ragged().scored_rows();
        let mut out = self.scratch(rows.len(), x.columns);
        for (out, &row) in out.data.chunks_exact_mut(x.columns).zip(&rows) {
            out.copy_from_slice(&x.data[row * x.columns..(row + 1) * x.columns]);
        }
        Ok(out)
    }

    /// Summed up in f64: the order of the rows, however many, leaves no trace in an f32.
    fn mean_rows(&self, x: &CpuTensor, layout: &CpuLayout) -> Result<CpuTensor> {
        let ragged = layout.ragged();
        let mut out = self.scratch(ragged.len(), x.columns);
        let mut sums = vec![0.0_f64; x.columns];
        for (out, rows) in out.data.chunks_exact_mut(x.columns).zip(ragged.sequences()) {
            sums.fill(0.0);
            for row in x.data[rows.start * x.columns..rows.end * x.columns].chunks_exact(x.columns)
            {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let count = rows.len() as f64;
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
        }
        Ok(out)
    }
}

fn heads_of(spec: &AttentionSpec) -> Heads {
    let AttentionSpec { heads, kv_heads, width, causal, window, scale, softcap, .. } = *spec;
    Heads { queries: heads, keys: kv_heads, width, causal, window, scale, softcap }
}

fn kernel_distance<'a>(by_distance: &ByDistance<'a, CpuTensor>) -> kernel::ByDistance<'a> {
    let ByDistance { distances, keys, queries } = *by_distance;
    let (keys, queries) = (keys.map(CpuTensor::as_slice), queries.map(CpuTensor::as_slice));
    kernel::ByDistance { distances, keys, queries }
}
