//! The vocabulary of operations as launches of kernels, all on one stream.

use bytemuck::Pod;
use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, Backend, ByDistance, Format, Ops, OverHeads,
    Result, Rows, Source,
};

use crate::arguments::{NormArguments, PointwiseArguments, RopeArguments, RowsArguments};
use crate::attention::set_distances;
use crate::backend::CudaBackend;
use crate::driver::{Driver, Launch};
use crate::layout::CudaLayout;
use crate::linear::{Added, Finish, alike};
use crate::slot::{CudaWeight, Queues};
use crate::staging::Return;
use crate::tensor::CudaTensor;

/// Threads of kernels that work element by element.
const THREADS: usize = 256;
/// Groups that a block of a norm takes, a warp each.
const GROUPS: usize = 4;
/// Most blocks in a grid's second dimension.
const MOST_BLOCKS: usize = 65_535;
/// Elements of a pointwise kernel's thread.
const ELEMENTS: usize = 4;

impl<D: Driver> CudaBackend<D> {
    /// Queues a kernel on so many blocks; nothing where there are none.
    ///
    /// # Safety
    /// The argument is what the kernel takes, and its pointers are to buffers that are used again in the stream's order
    /// alone.
    pub(crate) unsafe fn launch<A: Pod>(
        &self,
        name: &'static str,
        [x, y]: [usize; 2],
        threads: u32,
        argument: &A,
    ) -> crate::Result<()> {
        if x == 0 || y == 0 {
            return Ok(());
        }
        let Queues { driver, compute, .. } = &*self.queues;
        let kernel = driver.kernel(name)?;
        let argument = bytemuck::bytes_of(argument);
        let launch = Launch { kernel, grid: [number(x)?, number(y)?, 1], threads, argument };
        // SAFETY: the caller's.
        unsafe { driver.launch(*compute, launch) }
    }

    fn norm(
        &self,
        name: &'static str,
        x: &CudaTensor<D>,
        out: &CudaTensor<D>,
        (weight, bias): (&CudaWeight<'_, D>, Option<&CudaWeight<'_, D>>),
        eps: f32,
    ) -> crate::Result<()> {
        let width = weight.rows;
        let groups = x.elements() / width;
        let argument = NormArguments {
            x: x.at().0,
            out: out.at().0,
            weight: weight.at,
            bias: bias.map_or(0, |bias| bias.at),
            weight_format: weight.format as u32,
            bias_format: bias.map_or(0, |bias| bias.format as u32),
            groups: number(groups)?,
            width: number(width)?,
            eps,
            added: weight.added,
            x_format: x.format as u32,
            out_format: out.format as u32,
        };
        // SAFETY: both have as many groups of the weight's width.
        unsafe { self.launch(name, [groups.div_ceil(GROUPS), 1], 32 * GROUPS as u32, &argument) }
    }

    /// From `x`, and `y` where there is one, to `out`, which may be either of them.
    fn pointwise(
        &self,
        name: &'static str,
        [x, y, out]: [&CudaTensor<D>; 3],
        (activation, factor): (u32, f32),
    ) -> crate::Result<()> {
        let count = x.elements();
        debug_assert!(y.elements() == count && out.elements() == count, "{name}");
        let argument = PointwiseArguments {
            x: x.at().0,
            y: y.at().0,
            out: out.at().0,
            count: count as u64,
            activation,
            factor,
            x_format: x.format as u32,
            y_format: y.format as u32,
            out_format: out.format as u32,
            unused: 0,
        };
        let blocks = count.div_ceil(ELEMENTS * THREADS);
        // SAFETY: all have so many elements, of which a thread reads those that it writes.
        unsafe { self.launch(name, [blocks, 1], THREADS as u32, &argument) }
    }

    /// With elements of this format; none where it has them already.
    pub(crate) fn converted(
        &self,
        x: &CudaTensor<D>,
        format: Format,
    ) -> crate::Result<Option<CudaTensor<D>>> {
        if x.format == format {
            return Ok(None);
        }
        let out = self.tensor(x.rows, x.columns, format)?;
        self.pointwise("convert", [x, x, &out], (0, 0.0))?;
        Ok(Some(out))
    }

    /// `activation(gate) * up`, of elements of this format.
    pub(crate) fn gated(
        &self,
        gate: CudaTensor<D>,
        up: &CudaTensor<D>,
        activation: Activation,
        format: Format,
    ) -> crate::Result<CudaTensor<D>> {
        let how = (activation_number(activation), 0.0);
        if gate.format == format {
            self.pointwise("gate", [&gate, up, &gate], how)?;
            return Ok(gate);
        }
        let out = self.tensor(gate.rows, gate.columns, format)?;
        self.pointwise("gate", [&gate, up, &out], how)?;
        Ok(out)
    }

    /// Rotary embedding in place, after the norm of each head where there is one.
    fn rotated(
        &self,
        x: CudaTensor<D>,
        norm: Option<(&CudaWeight<'_, D>, f32)>,
        (cos, sin): (&CudaTensor<D>, &CudaTensor<D>),
        head_dim: usize,
        positions: u64,
    ) -> Result<CudaTensor<D>> {
        let argument = RopeArguments {
            x: x.at().0,
            cosines: cos.at().0,
            sines: sin.at().0,
            positions,
            weight: norm.map_or(0, |(weight, _)| weight.at),
            weight_format: norm.map_or(0, |(weight, _)| weight.format as u32),
            eps: norm.map_or(0.0, |(_, eps)| eps),
            added: norm.map_or(0.0, |(weight, _)| weight.added),
            rows: number(x.rows)?,
            columns: number(x.columns)?,
            half_width: number(head_dim / 2)?,
            format: x.format as u32,
            unused: 0,
        };
        let (name, blocks, threads) = match norm {
            Some(_) => {
                let heads = x.elements() / head_dim;
                ("rms_norm_rope", heads.div_ceil(GROUPS), 32 * GROUPS)
            }
            None => ("rope", (x.elements() / 2).div_ceil(THREADS), THREADS),
        };
        // SAFETY: the layout has a position for each row, the tables one row for each position, and the weight, where there
        // is one, is as wide as a head.
        unsafe { self.launch(name, [blocks, 1], threads as u32, &argument)? };
        Ok(x)
    }

    /// Rows of `x` to a tensor of so many, an element a thread or a column a thread.
    fn rows(
        &self,
        name: &'static str,
        x: &CudaTensor<D>,
        rows: usize,
        (index, width): (u64, usize),
        blocks: [usize; 2],
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(rows, x.columns, x.format)?;
        let argument = RowsArguments {
            x: x.at().0,
            out: out.at().0,
            index,
            rows: number(rows)?,
            columns: number(x.columns)?,
            width: number(width)?,
            format: x.format as u32,
        };
        // SAFETY: `out` has so many rows, and the index, a layout's, names rows of `x`.
        unsafe { self.launch(name, blocks, THREADS as u32, &argument)? };
        Ok(out)
    }
}

/// A size as kernels take it.
pub(crate) fn number(size: usize) -> crate::Result<u32> {
    u32::try_from(size).map_err(|_| {
        crate::DriverError::failed("launching a kernel", format!("{size} is too large"))
    })
}

/// As `activated` of `prelude.cuh` counts them.
fn activation_number(activation: Activation) -> u32 {
    match activation {
        Activation::Silu => 0,
        Activation::GeluErf => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
        Activation::Tanh => 4,
    }
}

impl<D: Driver> Ops for CudaBackend<D> {
    fn linear<const N: usize>(
        &self,
        x: &CudaTensor<D>,
        maps: [Affine<'_, CudaWeight<'_, D>>; N],
    ) -> Result<[CudaTensor<D>; N]> {
        let out = |map: &Affine<'_, CudaWeight<'_, D>>| {
            Ok(self.tensor(x.rows, map.weight.rows, self.options.stored(map.weight.then))?)
        };
        let outs: Result<Vec<_>> = maps.iter().map(out).collect();
        let outs = outs?;
        self.affine(x, &maps, &outs, Added::No)?;
        Ok(outs.try_into().expect("one output for each map"))
    }

    fn linear_add(
        &self,
        sum: CudaTensor<D>,
        x: &CudaTensor<D>,
        map: Affine<'_, CudaWeight<'_, D>>,
    ) -> Result<CudaTensor<D>> {
        debug_assert!(sum.rows == x.rows && sum.format == Format::F32, "hidden states are f32");
        let outs = [sum];
        self.affine(x, &[map], &outs, Added::Yes)?;
        let [sum] = outs;
        Ok(sum)
    }

    fn linear_activated(
        &self,
        x: &CudaTensor<D>,
        map: Affine<'_, CudaWeight<'_, D>>,
        activation: Activation,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(x.rows, map.weight.rows, self.options.stored(map.weight.then))?;
        let how = Finish::Activated(activation_number(activation));
        self.launch_maps(x, &[map], std::slice::from_ref(&out), how)?;
        Ok(out)
    }

    fn linear_gated(
        &self,
        x: &CudaTensor<D>,
        gate_up: [Affine<'_, CudaWeight<'_, D>>; 2],
        activation: Activation,
    ) -> Result<CudaTensor<D>> {
        let [gate, up] = &gate_up;
        let format = self.options.stored(up.weight.then);
        if alike(gate, up) {
            let out = self.tensor(x.rows, up.weight.rows, format)?;
            let how = Finish::Gated(activation_number(activation));
            self.launch_maps(x, &gate_up, std::slice::from_ref(&out), how)?;
            return Ok(out);
        }
        let part = |weight: &CudaWeight<'_, D>| self.tensor(x.rows, weight.rows, Format::F32);
        let outs = [part(gate.weight)?, part(up.weight)?];
        self.affine(x, &gate_up, &outs, Added::No)?;
        let [gate, up] = outs;
        Ok(self.gated(gate, &up, activation, format)?)
    }

    fn add(&self, sum: CudaTensor<D>, x: &CudaTensor<D>) -> Result<CudaTensor<D>> {
        self.pointwise("add", [&sum, x, &sum], (0, 0.0))?;
        Ok(sum)
    }

    fn scaled(&self, x: CudaTensor<D>, factor: f32) -> Result<CudaTensor<D>> {
        self.pointwise("scale", [&x, &x, &x], (0, factor))?;
        Ok(x)
    }

    fn gate(
        &self,
        gate: CudaTensor<D>,
        up: &CudaTensor<D>,
        activation: Activation,
    ) -> Result<CudaTensor<D>> {
        let format = gate.format;
        Ok(self.gated(gate, up, activation, format)?)
    }

    fn rms_norm(
        &self,
        x: &CudaTensor<D>,
        weight: &CudaWeight<'_, D>,
        eps: f32,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(x.rows, x.columns, self.options.stored(weight.then))?;
        self.norm("rms_norm", x, &out, (weight, None), eps)?;
        Ok(out)
    }

    fn rms_norm_heads(
        &self,
        x: CudaTensor<D>,
        weight: &CudaWeight<'_, D>,
        eps: f32,
    ) -> Result<CudaTensor<D>> {
        self.norm("rms_norm", &x, &x, (weight, None), eps)?;
        Ok(x)
    }

    fn layer_norm(
        &self,
        x: CudaTensor<D>,
        weight: &CudaWeight<'_, D>,
        bias: Option<&CudaWeight<'_, D>>,
        eps: f32,
    ) -> Result<CudaTensor<D>> {
        self.norm("layer_norm", &x, &x, (weight, bias), eps)?;
        Ok(x)
    }

    fn layer_norm_of(
        &self,
        x: &CudaTensor<D>,
        weight: &CudaWeight<'_, D>,
        bias: Option<&CudaWeight<'_, D>>,
        eps: f32,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(x.rows, x.columns, self.options.stored(weight.then))?;
        self.norm("layer_norm", x, &out, (weight, bias), eps)?;
        Ok(out)
    }

    fn activate(&self, x: CudaTensor<D>, activation: Activation) -> Result<CudaTensor<D>> {
        self.pointwise("activate", [&x, &x, &x], (activation_number(activation), 0.0))?;
        Ok(x)
    }

    fn neighbours_to_halves(&self, x: CudaTensor<D>, head_dim: usize) -> Result<CudaTensor<D>> {
        let blocks = [x.elements().div_ceil(THREADS), 1];
        self.rows("neighbours_to_halves", &x, x.rows, (0, head_dim), blocks)
    }

    fn rope(
        &self,
        x: CudaTensor<D>,
        cos_sin: (&CudaTensor<D>, &CudaTensor<D>),
        head_dim: usize,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> Result<CudaTensor<D>> {
        self.rotated(x, None, cos_sin, head_dim, layout.positions(rows))
    }

    fn rms_norm_rope(
        &self,
        x: CudaTensor<D>,
        norm: (&CudaWeight<'_, D>, f32),
        cos_sin: (&CudaTensor<D>, &CudaTensor<D>),
        head_dim: usize,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> Result<CudaTensor<D>> {
        self.rotated(x, Some(norm), cos_sin, head_dim, layout.positions(rows))
    }

    fn attention(
        &self,
        q: CudaTensor<D>,
        keys_values: (&CudaTensor<D>, &CudaTensor<D>),
        prefix: Option<(&CudaTensor<D>, &CudaTensor<D>)>,
        spec: &AttentionSpec,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> Result<CudaTensor<D>> {
        self.attend(&q, keys_values, spec, (layout, rows), |argument| {
            if let Some((keys, values)) = prefix {
                debug_assert_eq!(keys.format, keys_values.0.format, "keys are stored alike");
                debug_assert_eq!(values.format, keys_values.1.format, "values are stored alike");
                (argument.prefix_keys, argument.prefix_values) = (keys.at().0, values.at().0);
                argument.prefix = number(keys.rows)?;
            }
            Ok(false)
        })
    }

    fn attention_by_distance(
        &self,
        q: CudaTensor<D>,
        keys_values: (&CudaTensor<D>, &CudaTensor<D>),
        by_distance: ByDistance<'_, CudaTensor<D>>,
        spec: &AttentionSpec,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> Result<CudaTensor<D>> {
        let table = self.distance_rows(by_distance.distances, layout.longest)?;
        self.attend(&q, keys_values, spec, (layout, rows), |argument| {
            set_distances(argument, &by_distance, &table);
            Ok(true)
        })
    }

    fn attention_mass(
        &self,
        attended: Attended<'_, CudaTensor<D>>,
        spec: &AttentionSpec,
        over: OverHeads,
        layout: &CudaLayout<D>,
    ) -> Result<Return<D>> {
        let Attended { queries, keys, prefix, by_distance, values } = attended;
        let out = self.tensor(keys.rows, 1, Format::F32)?;
        let mut argument = self.asked((queries, keys, &out), spec, layout, Rows::Scored)?;
        if let Some(values) = values {
            (argument.values, argument.value_format) = (values.at().0, values.format as u32);
        }
        argument.largest = (over == OverHeads::Maximum).into();
        if let Some(prefix) = prefix {
            (argument.prefix_keys, argument.prefix) = (prefix.at().0, number(prefix.rows)?);
        }
        let table = by_distance.as_ref().map(|by| self.distance_rows(by.distances, layout.longest));
        let table = table.transpose()?;
        if let (Some(by), Some(table)) = (&by_distance, &table) {
            set_distances(&mut argument, by, table);
        }
        // SAFETY: the layout is of these tensors' rows.
        unsafe { self.launch("attention_mass", [layout.sequences, 1], 128, &argument)? };
        self.read(&out)
    }

    fn copied(&self, x: &CudaTensor<D>) -> Result<CudaTensor<D>> {
        let mut out = self.tensor(x.rows, x.columns, x.format)?;
        let all = 0..x.rows;
        self.copy_rows(&mut out, 0, Source::Tensor(x), all)?;
        Ok(out)
    }

    fn scored_rows(&self, x: &CudaTensor<D>, layout: &CudaLayout<D>) -> Result<CudaTensor<D>> {
        let blocks = [(layout.sequences * x.columns).div_ceil(THREADS), 1];
        self.rows("gather_rows", x, layout.sequences, (layout.scored_rows(), 0), blocks)
    }

    fn mean_rows(&self, x: &CudaTensor<D>, layout: &CudaLayout<D>) -> Result<CudaTensor<D>> {
        let out = self.tensor(layout.sequences, x.columns, x.format)?;
        for first in (0..layout.sequences).step_by(MOST_BLOCKS) {
            let rows = (layout.sequences - first).min(MOST_BLOCKS);
            let argument = RowsArguments {
                x: x.at().0,
                out: out.row(first).0,
                index: layout.offsets() + (first * size_of::<u32>()) as u64,
                rows: number(rows)?,
                columns: number(x.columns)?,
                width: 0,
                format: x.format as u32,
            };
            let blocks = [x.columns.div_ceil(THREADS), rows];
            // SAFETY: `out` has a row for each sequence, whose ends in `x` are the layout's.
            unsafe { self.launch("mean_rows", blocks, THREADS as u32, &argument)? };
        }
        Ok(out)
    }
}

// The kernels count formats as `Format` does.
const _: () = assert!(
    Format::F32 as u32 == 0 && Format::F16 as u32 == 1 && Format::Bf16 as u32 == 2,
    "formats.cuh has other numbers"
);
