//! The vocabulary of operations as launches of kernels, all on one stream.

use std::sync::{Arc, PoisonError};

use bytemuck::Pod;
use grating_backend::{
    Activation, Affine, Attended, AttentionSpec, Backend, BackendError, ByDistance, Distances,
    Format, Ops, OverHeads, Precision, Result, Rows, Source,
};

use crate::arguments::{
    AttentionArguments, NormArguments, PointwiseArguments, RopeArguments, RowsArguments,
};
use crate::backend::{CudaBackend, CudaTensor};
use crate::driver::{Driver, Launch};
use crate::layout::CudaLayout;
use crate::memory::Buffer;
use crate::slot::{CudaWeight, Queues};
use crate::staging::Return;

/// Threads of kernels that work element by element.
const THREADS: usize = 256;
/// Groups that a block of a norm takes, a warp each.
const GROUPS: usize = 4;
/// A window that nothing is out of (`NO_WINDOW` of `attention.cuh`).
const NO_WINDOW: u32 = u32::MAX / 2;
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
        };
        // SAFETY: both have as many groups of the weight's width.
        unsafe { self.launch(name, [groups.div_ceil(GROUPS), 1], 32 * GROUPS as u32, &argument) }
    }

    /// In place of `x`.
    fn pointwise(
        &self,
        name: &'static str,
        x: CudaTensor<D>,
        y: Option<&CudaTensor<D>>,
        (activation, factor): (u32, f32),
    ) -> Result<CudaTensor<D>> {
        let count = x.elements();
        if let Some(y) = y {
            debug_assert_eq!(y.elements(), count);
        }
        let argument = PointwiseArguments {
            x: x.at().0,
            y: y.map_or(0, |y| y.at().0),
            out: x.at().0,
            count: count as u64,
            activation,
            factor,
        };
        let blocks = count.div_ceil(ELEMENTS * THREADS);
        // SAFETY: all have so many elements.
        unsafe { self.launch(name, [blocks, 1], THREADS as u32, &argument)? };
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
        let out = self.tensor(rows, x.columns)?;
        let argument = RowsArguments {
            x: x.at().0,
            out: out.at().0,
            index,
            rows: number(rows)?,
            columns: number(x.columns)?,
            width: number(width)?,
            unused: 0,
        };
        // SAFETY: `out` has so many rows, and the index, a layout's, names rows of `x`.
        unsafe { self.launch(name, blocks, THREADS as u32, &argument)? };
        Ok(out)
    }

    /// The row of each distance from `1 - longest` to `longest - 1`, on the device.
    fn distance_rows(&self, distances: Distances, longest: usize) -> crate::Result<Arc<Buffer<D>>> {
        let mut known = self.distances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, tokens, rows)) = &*known
            && (*of, *tokens) == (distances, longest)
        {
            return Ok(Arc::clone(rows));
        }
        let far = longest as isize;
        let rows: Vec<u32> = (1 - far..far).map(|d| distances.row(d) as u32).collect();
        let rows = Arc::new(self.uploaded(bytemuck::cast_slice(&rows))?);
        *known = Some((distances, longest, Arc::clone(&rows)));
        Ok(rows)
    }

    /// What attention of `q` over keys is told, without a prefix, values and distances.
    fn asked(
        &self,
        (q, keys, out): (&CudaTensor<D>, &CudaTensor<D>, &CudaTensor<D>),
        spec: &AttentionSpec,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> crate::Result<AttentionArguments> {
        Ok(AttentionArguments {
            q: q.at().0,
            keys: keys.at().0,
            out: out.at().0,
            offsets: layout.offsets(),
            positions: layout.positions(Rows::All),
            heads: number(spec.heads)?,
            kv_heads: number(spec.kv_heads)?,
            width: number(spec.width)?,
            causal: spec.causal.into(),
            window: spec.window.map_or(Ok(NO_WINDOW), number)?.min(NO_WINDOW),
            scale: spec.scale,
            softcap: spec.softcap.unwrap_or(0.0),
            scored: layout.scored(rows),
            longest: number(layout.longest)?,
            ..bytemuck::Zeroable::zeroed()
        })
    }

    fn attend(
        &self,
        q: &CudaTensor<D>,
        (keys, values): (&CudaTensor<D>, &CudaTensor<D>),
        spec: &AttentionSpec,
        (layout, rows): (&CudaLayout<D>, Rows),
        set: impl FnOnce(&mut AttentionArguments) -> crate::Result<bool>,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(q.rows, q.columns)?;
        let mut argument = self.asked((q, keys, &out), spec, layout, rows)?;
        argument.values = values.at().0;
        let by_distance = set(&mut argument)?;
        let rounds = self.options.precision == Precision::Fast;
        let Some((name, rounded)) = attention_kernel(spec.width, by_distance, rounds) else {
            let reason =
                format!("attention heads of {} columns are not supported on CUDA", spec.width);
            return Err(BackendError::failed(reason));
        };
        let (tiles, blocks) = layout.tiles(rounded, rows);
        argument.tiles = tiles;
        // SAFETY: the layout is of these tensors' rows.
        unsafe { self.launch(name, [blocks, spec.heads], 128, &argument)? };
        Ok(out)
    }
}

/// A size as kernels take it.
pub(crate) fn number(size: usize) -> crate::Result<u32> {
    u32::try_from(size).map_err(|_| {
        crate::DriverError::failed("launching a kernel", format!("{size} is too large"))
    })
}

/// The kernel for heads of so many columns, and whether it is one of tensor cores, where there is one and `rounds` says so.
fn attention_kernel(width: usize, by_distance: bool, rounds: bool) -> Option<(&'static str, bool)> {
    let rounded = rounds && !by_distance && width <= 128 && width.is_multiple_of(4);
    let name = match (width, by_distance, rounded) {
        (0..=32, false, true) => "attention_rounded_32",
        (33..=64, false, true) => "attention_rounded_64",
        (65..=128, false, true) => "attention_rounded_128",
        (0..=32, false, false) => "attention_32",
        (33..=64, false, false) => "attention_64",
        (65..=128, false, false) => "attention_128",
        (129..=256, false, false) => "attention_256",
        (0..=32, true, _) => "attention_by_distance_32",
        (33..=64, true, _) => "attention_by_distance_64",
        (65..=128, true, _) => "attention_by_distance_128",
        _ => return None,
    };
    Some((name, rounded))
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
        let outs: Result<Vec<_>> =
            maps.iter().map(|map| Ok(self.tensor(x.rows, map.weight.rows)?)).collect();
        let outs = outs?;
        self.affine(x, &maps, &outs, false)?;
        Ok(outs.try_into().expect("one output for each map"))
    }

    fn linear_add(
        &self,
        sum: CudaTensor<D>,
        x: &CudaTensor<D>,
        map: Affine<'_, CudaWeight<'_, D>>,
    ) -> Result<CudaTensor<D>> {
        let mut outs = [sum];
        self.affine(x, &[map], &outs, true)?;
        let [sum] = &mut outs;
        debug_assert_eq!(sum.rows, x.rows);
        let [sum] = outs;
        Ok(sum)
    }

    fn add(&self, sum: CudaTensor<D>, x: &CudaTensor<D>) -> Result<CudaTensor<D>> {
        self.pointwise("add", sum, Some(x), (0, 0.0))
    }

    fn scaled(&self, x: CudaTensor<D>, factor: f32) -> Result<CudaTensor<D>> {
        self.pointwise("scale", x, None, (0, factor))
    }

    fn gate(
        &self,
        gate: CudaTensor<D>,
        up: &CudaTensor<D>,
        activation: Activation,
    ) -> Result<CudaTensor<D>> {
        self.pointwise("gate", gate, Some(up), (activation_number(activation), 0.0))
    }

    fn rms_norm(
        &self,
        x: &CudaTensor<D>,
        weight: &CudaWeight<'_, D>,
        eps: f32,
    ) -> Result<CudaTensor<D>> {
        let out = self.tensor(x.rows, x.columns)?;
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

    fn activate(&self, x: CudaTensor<D>, activation: Activation) -> Result<CudaTensor<D>> {
        self.pointwise("activate", x, None, (activation_number(activation), 0.0))
    }

    fn neighbours_to_halves(&self, x: CudaTensor<D>, head_dim: usize) -> Result<CudaTensor<D>> {
        let blocks = [x.elements().div_ceil(THREADS), 1];
        self.rows("neighbours_to_halves", &x, x.rows, (0, head_dim), blocks)
    }

    fn rope(
        &self,
        x: CudaTensor<D>,
        (cos, sin): (&CudaTensor<D>, &CudaTensor<D>),
        head_dim: usize,
        layout: &CudaLayout<D>,
        rows: Rows,
    ) -> Result<CudaTensor<D>> {
        let argument = RopeArguments {
            x: x.at().0,
            cosines: cos.at().0,
            sines: sin.at().0,
            positions: layout.positions(rows),
            rows: number(x.rows)?,
            columns: number(x.columns)?,
            half_width: number(head_dim / 2)?,
            unused: 0,
        };
        let blocks = (x.elements() / 2).div_ceil(THREADS);
        // SAFETY: the layout has a position for each row, and the tables one row for each position.
        unsafe { self.launch("rope", [blocks, 1], THREADS as u32, &argument)? };
        Ok(x)
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
            argument.distance_keys = by_distance.keys.map_or(0, |keys| keys.at().0);
            argument.distance_queries = by_distance.queries.map_or(0, |queries| queries.at().0);
            argument.distance_rows = table.at().0;
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
        let out = self.tensor(keys.rows, 1)?;
        let mut argument = self.asked((queries, keys, &out), spec, layout, Rows::Scored)?;
        argument.values = values.map_or(0, |values| values.at().0);
        argument.largest = (over == OverHeads::Maximum).into();
        if let Some(prefix) = prefix {
            (argument.prefix_keys, argument.prefix) = (prefix.at().0, number(prefix.rows)?);
        }
        let table = by_distance.as_ref().map(|by| self.distance_rows(by.distances, layout.longest));
        let table = table.transpose()?;
        if let (Some(by), Some(table)) = (&by_distance, &table) {
            argument.distance_keys = by.keys.map_or(0, |keys| keys.at().0);
            argument.distance_queries = by.queries.map_or(0, |queries| queries.at().0);
            argument.distance_rows = table.at().0;
        }
        // SAFETY: the layout is of these tensors' rows.
        unsafe { self.launch("attention_mass", [layout.sequences, 1], 128, &argument)? };
        self.read(&out)
    }

    fn copied(&self, x: &CudaTensor<D>) -> Result<CudaTensor<D>> {
        let mut out = self.tensor(x.rows, x.columns)?;
        let all = 0..x.rows;
        self.copy_rows(&mut out, 0, Source::Tensor(x), all)?;
        Ok(out)
    }

    fn scored_rows(&self, x: &CudaTensor<D>, layout: &CudaLayout<D>) -> Result<CudaTensor<D>> {
        let blocks = [(layout.sequences * x.columns).div_ceil(THREADS), 1];
        self.rows("gather_rows", x, layout.sequences, (layout.scored_rows(), 0), blocks)
    }

    fn mean_rows(&self, x: &CudaTensor<D>, layout: &CudaLayout<D>) -> Result<CudaTensor<D>> {
        let out = self.tensor(layout.sequences, x.columns)?;
        for first in (0..layout.sequences).step_by(MOST_BLOCKS) {
            let rows = (layout.sequences - first).min(MOST_BLOCKS);
            let argument = RowsArguments {
                x: x.at().0,
                out: out.at().offset(first * x.columns * size_of::<f32>()).0,
                index: layout.offsets() + (first * size_of::<u32>()) as u64,
                rows: number(rows)?,
                columns: number(x.columns)?,
                width: 0,
                unused: 0,
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
