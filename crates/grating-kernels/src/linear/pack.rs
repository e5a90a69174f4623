//! Rows as they are stored, on the way to units.

use super::microkernel::{Cut, CutFn, Microkernel, PackFn, Packing, RowsToPack};
use super::scratch::Rows;
use super::tasks::BLOCK_COLUMNS;
use crate::format::Format;
use crate::quant::{DecodeFn, GROUP, QuantizeActivationsFn, QuantizeWeightsFn};

/// Where packed rows go.
pub(super) struct Packed<'a> {
    /// Rows of a panel or a tile, at least those of the source.
    pub(super) lanes: usize,
    /// `[units, lanes]`.
    pub(super) units: &'a mut [u32],
    /// Bits of f32, `[groups, lanes]`; nothing for products of floats.
    pub(super) scales: &'a mut [u32],
    /// Bits of i32, `[groups, lanes]`; likewise. Of digits, the number of outliers.
    pub(super) offsets: &'a mut [u32],
    /// `[groups, lanes, `[`WORDS`](super::outliers::WORDS)`]`; nothing but for products of digits.
    pub(super) outliers: &'a mut [u32],
}

impl Microkernel {
    /// Packs weights; at most [`BLOCK_COLUMNS`] elements a row.
    pub(super) fn pack_weights(
        &self,
        format: Format,
        source: &RowsToPack<'_>,
        rows: &mut Rows,
        mut into: Packed<'_>,
    ) {
        match self.packing {
            Packing::Floats { w, decode, .. } => {
                let (pack, bytes, decoded) = of_format(w, decode, format, source, rows);
                self.pack_units(pack, bytes, &decoded, self.planes.1, into);
            }
            Packing::Digits { w, decode, .. } => {
                let (cut, bytes, decoded) = of_format(w, decode, format, source, rows);
                self.cut(cut, bytes, &decoded, self.planes.1, into);
            }
            Packing::Bytes { quantize, w, .. } => {
                quantize_all(quantize, format, source, rows, &mut into);
                self.pack_bytes(w, source, rows, into);
            }
        }
    }

    /// Packs whole rows of activations, `[rows, columns]`, as many as there are lanes.
    pub(super) fn pack_activations(&self, x: &[f32], columns: usize, mut into: Packed<'_>) {
        match self.packing {
            Packing::Floats { x: pack, .. } => {
                self.pack_units(pack, 4, &rows_of(x, columns, into.lanes), self.planes.0, into);
            }
            Packing::Digits { x: cut, .. } => {
                self.cut(cut, 4, &rows_of(x, columns, into.lanes), self.planes.0, into);
            }
            Packing::Bytes { x: quantize, .. } => {
                for (row, x) in x.chunks(columns).enumerate() {
                    self.quantize_row(quantize, x, row, &mut into);
                }
            }
        }
    }

    /// Quantizes row `row` of a tile.
    fn quantize_row(
        &self,
        quantize: QuantizeActivationsFn,
        x: &[f32],
        row: usize,
        into: &mut Packed<'_>,
    ) {
        let units = into.units.chunks_exact_mut(GROUP / self.group).skip(row).step_by(into.lanes);
        for (group, (x, units)) in x.chunks(GROUP).zip(units).enumerate() {
            let mut last = [0.0; GROUP];
            let x = x.try_into().unwrap_or_else(|_| {
                last[..x.len()].copy_from_slice(x);
                &last
            });
            // SAFETY: `Kernels::new` checked the instructions.
            let step = unsafe { quantize(x, units) };
            into.scales[group * into.lanes + row] = step.scale.to_bits();
            into.offsets[group * into.lanes + row] = step.offset.cast_unsigned();
        }
    }

    /// Packs what [`quantize_all`] left in `rows`.
    fn pack_bytes(&self, pack: PackFn, source: &RowsToPack<'_>, rows: &mut Rows, into: Packed<'_>) {
        let (quants, _) = rows.quants(source.rows);
        let count = source.count.next_multiple_of(GROUP);
        let source =
            RowsToPack { bytes: bytes_of(quants), stride: BLOCK_COLUMNS, rows: source.rows, count };
        self.pack_units(pack, 1, &source, 1, into);
    }

    /// Packs elements of `bytes` bytes, each into so many planes.
    fn pack_units(
        &self,
        pack: PackFn,
        bytes: usize,
        source: &RowsToPack<'_>,
        planes: usize,
        into: Packed<'_>,
    ) {
        self.check(bytes, source, planes, &into);
        // SAFETY: sizes were checked; `Kernels::new` checked the instructions.
        unsafe { pack(source, into.lanes, into.units.as_mut_ptr()) }
    }

    /// Cuts elements of `bytes` bytes.
    fn cut(
        &self,
        cut: CutFn,
        bytes: usize,
        source: &RowsToPack<'_>,
        planes: usize,
        into: Packed<'_>,
    ) {
        self.check(bytes, source, planes, &into);
        let scales = into.lanes * self.scales(source.count);
        assert!(into.scales.len() >= scales && into.offsets.len() >= scales);
        assert!(into.outliers.len() >= into.lanes * self.outlier_words(source.count));
        let into = Cut {
            lanes: into.lanes,
            units: into.units.as_mut_ptr(),
            scales: into.scales.as_mut_ptr().cast(),
            counts: into.offsets.as_mut_ptr(),
            outliers: into.outliers.as_mut_ptr(),
        };
        // SAFETY: as above.
        unsafe { cut(source, into) }
    }

    /// # Panics
    ///
    /// If the source does not hold its elements, or there is no room for them.
    fn check(&self, bytes: usize, source: &RowsToPack<'_>, planes: usize, into: &Packed<'_>) {
        assert!(source.rows > 0 && source.rows <= into.lanes);
        assert!(source.bytes.len() >= (source.rows - 1) * source.stride + source.count * bytes);
        assert!(into.units.len() >= into.lanes * planes * self.units(source.count));
    }
}

/// What packs weights of this format, bytes of an element, and rows of such elements: those of `source`, or what they are in f32.
fn of_format<'a, F: Copy>(
    [f32, f16, bf16]: [F; 3],
    decode: DecodeFn,
    format: Format,
    source: &RowsToPack<'a>,
    rows: &'a mut Rows,
) -> (F, usize, RowsToPack<'a>) {
    match format {
        Format::F32 => (f32, 4, *source),
        Format::F16 => (f16, 2, *source),
        Format::Bf16 => (bf16, 2, *source),
        // Blocks.
        _ => {
            let floats = decode_all(decode, format, source, rows);
            let stride = BLOCK_COLUMNS * size_of::<f32>();
            (f32, 4, RowsToPack { bytes: bytes_of(floats), stride, ..*source })
        }
    }
}

/// `[rows, columns]`, to pack.
fn rows_of(x: &[f32], columns: usize, rows: usize) -> RowsToPack<'_> {
    RowsToPack { bytes: bytes_of(x), stride: columns * size_of::<f32>(), rows, count: columns }
}

/// Decodes the rows of `source` into rows of [`BLOCK_COLUMNS`].
fn decode_all<'r>(
    decode: DecodeFn,
    format: Format,
    source: &RowsToPack<'_>,
    rows: &'r mut Rows,
) -> &'r [f32] {
    let floats = rows.floats(source.rows);
    for (row, floats) in floats.chunks_mut(BLOCK_COLUMNS).enumerate() {
        // SAFETY: `Kernels::new` checked the instructions.
        unsafe { decode(format, stored(format, source, row), &mut floats[..source.count]) };
    }
    floats
}

/// Quantizes the rows of `source` into `rows`, and writes their scales and offsets.
fn quantize_all(
    quantize: QuantizeWeightsFn,
    format: Format,
    source: &RowsToPack<'_>,
    rows: &mut Rows,
    into: &mut Packed<'_>,
) {
    let groups = source.count.div_ceil(GROUP);
    if source.rows < into.lanes {
        into.scales.fill(0);
        into.offsets.fill(0);
    }
    let (quants, steps) = rows.quants(source.rows);
    let steps = steps.chunks_mut(BLOCK_COLUMNS / GROUP);
    for (row, (quants, steps)) in quants.chunks_mut(BLOCK_COLUMNS).zip(steps).enumerate() {
        let (quants, steps) = (&mut quants[..groups * GROUP], &mut steps[..groups]);
        // SAFETY: `Kernels::new` checked the instructions.
        unsafe { quantize(format, stored(format, source, row), source.count, quants, steps) };
        for (group, step) in steps.iter().enumerate() {
            into.scales[group * into.lanes + row] = step.scale.to_bits();
            into.offsets[group * into.lanes + row] = step.offset.cast_unsigned();
        }
    }
}

/// The bytes of one row.
fn stored<'a>(format: Format, source: &RowsToPack<'a>, row: usize) -> &'a [u8] {
    let len = source.count / format.block_elements() * format.block_bytes();
    &source.bytes[row * source.stride..][..len]
}

/// Numbers as the bytes that they lie in memory as.
pub(super) fn bytes_of<T: Number>(numbers: &[T]) -> &[u8] {
    // SAFETY: every `Number` is initialised bytes without padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// A primitive number.
pub(super) trait Number {}

impl Number for f32 {}
impl Number for i8 {}
