//! The operations, each on the kernels.

use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, ByDistance, Ops, OverHeads, Result, Rows,
};
use grating_kernels::attention::{self as kernel, Heads, KeysValues, attention};
use grating_kernels::{Compute, Map, rows as kernels};

use crate::backend::CpuLayout;
use crate::clock::Operation;
use crate::{CpuOps, CpuTensor, CpuWeight, Data};

impl Ops for CpuOps {
    fn linear<const N: usize>(
        &self,
        x: &CpuTensor,
        maps: [Affine<'_, CpuWeight<'_>>; N],
    ) -> Result<[CpuTensor; N]> {
        let mut outputs =
            maps.each_ref().map(|map| self.scratch(x.rows, map.weight.matrix().0.rows()));
        let mut layers: Vec<_> = maps.iter().zip(outputs.iter_mut()).collect();
        // Those whose products are of the same kind share their input and their threads.
        while let Some((first, _)) = layers.first() {
            let (_, compute) = first.weight.matrix();
            let x = self.input(x, compute);
            let alike =
                |(map, _): &mut (&Affine<'_, CpuWeight<'_>>, _)| map.weight.matrix().1 == compute;
            let alike = layers.extract_if(.., alike);
            let mut alike: Vec<_> =
                alike.map(|(map, out)| (map_of(map), out.as_mut_slice())).collect();
            self.clock.time(Operation::Linear, || self.kernels.linear_each(&x, &mut alike));
        }
        Ok(outputs)
    }

    fn linear_add(
        &self,
        mut sum: CpuTensor,
        x: &CpuTensor,
        Affine { weight, bias }: Affine<'_, CpuWeight<'_>>,
    ) -> Result<CpuTensor> {
        let (matrix, compute) = weight.matrix();
        let x = self.input(x, compute);
        let bias = bias.map(CpuWeight::vector);
        self.clock.time(Operation::Linear, || {
            self.kernels.linear_add(&x, matrix, bias, sum.as_mut_slice(), matrix.rows());
        });
        Ok(sum)
    }

    fn linear_activated(
        &self,
        x: &CpuTensor,
        map: Affine<'_, CpuWeight<'_>>,
        activation: Activation,
    ) -> Result<CpuTensor> {
        match map.weight.goes_on_in() {
            Some(compute) => Ok(self.activated(x, map, None, activation, compute)),
            None => {
                let [y] = self.linear(x, [map])?;
                self.activate(y, activation)
            }
        }
    }

    fn linear_gated(
        &self,
        x: &CpuTensor,
        [gate, up]: [Affine<'_, CpuWeight<'_>>; 2],
        activation: Activation,
    ) -> Result<CpuTensor> {
        match (gate.weight.goes_on_in(), up.weight.goes_on_in()) {
            (Some(of_gate), Some(compute)) if of_gate == compute => {
                Ok(self.activated(x, up, Some(gate), activation, compute))
            }
            _ => {
                let [gate, up] = self.linear(x, [gate, up])?;
                self.gate(gate, &up, activation)
            }
        }
    }

    fn add(&self, mut sum: CpuTensor, x: &CpuTensor) -> Result<CpuTensor> {
        self.clock.time(Operation::Activation, || {
            sum.as_mut_slice().iter_mut().zip(x.as_slice()).for_each(|(sum, x)| *sum += x);
        });
        Ok(sum)
    }

    fn scaled(&self, mut x: CpuTensor, factor: f32) -> Result<CpuTensor> {
        self.clock.time(Operation::Activation, || kernels::scale(x.as_mut_slice(), factor));
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
            kernels::gate(isa, gate.as_mut_slice(), up.as_slice(), activation)
        });
        Ok(gate)
    }

    fn rms_norm(&self, x: &CpuTensor, weight: &CpuWeight<'_>, eps: f32) -> Result<CpuTensor> {
        let mut out = self.scratch(x.rows, x.columns);
        let isa = self.kernels.isa();
        self.clock.time(Operation::Norm, || {
            kernels::rms_norm(isa, x.as_slice(), weight.vector(), eps, out.as_mut_slice());
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
            kernels::rms_norm_in_place(isa, x.as_mut_slice(), weight.vector(), eps);
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
            kernels::layer_norm_in_place(isa, x.as_mut_slice(), weight, bias, eps);
        });
        Ok(x)
    }

    fn activate(&self, mut x: CpuTensor, activation: Activation) -> Result<CpuTensor> {
        let isa = self.kernels.isa();
        self.clock
            .time(Operation::Activation, || kernels::activate(isa, x.as_mut_slice(), activation));
        Ok(x)
    }

    fn neighbours_to_halves(&self, mut x: CpuTensor, head_dim: usize) -> Result<CpuTensor> {
        let mut pairs = vec![0.0; head_dim];
        for head in x.as_mut_slice().chunks_exact_mut(head_dim) {
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
        let (positions, columns) = (layout.positions(rows), x.columns);
        self.clock.time(Operation::Rope, || {
            let (cos, sin) = (cos.as_slice(), sin.as_slice());
            kernels::rope(isa, x.as_mut_slice(), columns, cos, sin, head_dim / 2, &positions);
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
        let heads = heads_of(spec, self.attention_compute());
        let own = layout.keys_values(k, v);
        let prefix = prefix.map(|(k, v)| KeysValues::new(k.as_slice(), v.as_slice()));
        let mut out = self.scratch(q.rows, q.columns);
        let isa = self.kernels.isa();
        let spans = layout.spans(rows);
        self.clock.time(Operation::Attention, || {
            attention(isa, heads, q.as_slice(), own, prefix, &spans, out.as_mut_slice());
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
        let heads = heads_of(spec, Compute::F32);
        let own = layout.keys_values(k, v);
        let by_distance = kernel_distance(&by_distance);
        let mut out = self.scratch(q.rows, q.columns);
        let isa = self.kernels.isa();
        let spans = layout.spans(rows);
        self.clock.time(Operation::Attention, || {
            let (q, out) = (q.as_slice(), out.as_mut_slice());
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
            queries: queries.as_slice(),
            own: layout.keys_values(keys, values.unwrap_or(keys)),
            prefix: prefix.map_or(&[], |prefix| prefix.as_slice()),
            by_distance: by_distance.as_ref().map(kernel_distance),
            by_value: values.is_some(),
        };
        let mut out = vec![0.0; layout.ragged().tokens()];
        let spans = layout.spans(Rows::Scored);
        self.clock.time(Operation::Attention, || {
            kernel::mass(heads_of(spec, Compute::F32), attended, over, &spans, &mut out);
        });
        Ok(out)
    }

    fn copied(&self, x: &CpuTensor) -> Result<CpuTensor> {
        let mut out = self.scratch(x.rows, x.columns);
        out.as_mut_slice().copy_from_slice(x.as_slice());
        Ok(out)
    }

    fn scored_rows(&self, x: &CpuTensor, layout: &CpuLayout) -> Result<CpuTensor> {
        let rows = layout.ragged().scored_rows();
        let mut out = self.scratch(rows.len(), x.columns);
        for (out, &row) in out.as_mut_slice().chunks_exact_mut(x.columns).zip(&rows) {
            out.copy_from_slice(&x.as_slice()[row * x.columns..(row + 1) * x.columns]);
        }
        Ok(out)
    }

    /// Summed up in f64: the order of the rows, however many, leaves no trace in an f32.
    fn mean_rows(&self, x: &CpuTensor, layout: &CpuLayout) -> Result<CpuTensor> {
        let ragged = layout.ragged();
        let mut out = self.scratch(ragged.len(), x.columns);
        let mut sums = vec![0.0_f64; x.columns];
        for (out, rows) in out.as_mut_slice().chunks_exact_mut(x.columns).zip(ragged.sequences()) {
            sums.fill(0.0);
            for row in
                x.as_slice()[rows.start * x.columns..rows.end * x.columns].chunks_exact(x.columns)
            {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let count = rows.len() as f64;
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
        }
        Ok(out)
    }
}

impl CpuOps {
    /// A map with its activation or its gate, laid out for the products that come next.
    fn activated(
        &self,
        x: &CpuTensor,
        map: Affine<'_, CpuWeight<'_>>,
        gate: Option<Affine<'_, CpuWeight<'_>>>,
        activation: Activation,
        compute: Compute,
    ) -> CpuTensor {
        let x = self.input(x, compute);
        let mut outcome = self.outcomes.take();
        self.clock.time(Operation::Linear, || {
            self.kernels.linear_activated(
                &x,
                map_of(&map),
                gate.as_ref().map(map_of),
                activation,
                &mut outcome,
            );
        });
        let (rows, columns) = (outcome.rows(), outcome.columns());
        CpuTensor { data: Data::Prepared(outcome), rows, columns }
    }
}

fn map_of<'a>(Affine { weight, bias }: &Affine<'a, CpuWeight<'a>>) -> Map<'a> {
    Map { matrix: weight.matrix().0, bias: bias.map(CpuWeight::vector) }
}

fn heads_of(spec: &AttentionSpec, compute: Compute) -> Heads {
    let AttentionSpec { heads, kv_heads, width, causal, window, scale, softcap, .. } = *spec;
    Heads { queries: heads, keys: kv_heads, width, causal, window, scale, softcap, compute }
}

fn kernel_distance<'a>(by_distance: &ByDistance<'a, CpuTensor>) -> kernel::ByDistance<'a> {
    let ByDistance { distances, keys, queries } = *by_distance;
    let (keys, queries) = (keys.map(CpuTensor::as_slice), queries.map(CpuTensor::as_slice));
    kernel::ByDistance { distances, keys, queries }
}
