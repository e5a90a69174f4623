//! Operations row by row or element by element: norms, activations, rotary embedding.
//!
//! Matrices are f32, row-major, `[rows, columns]`. Rows are shared out over the threads of the current rayon pool; no
//! result depends on how.

pub use grating_backend::Activation;
use rayon::prelude::*;

use crate::Isa;
use crate::math;
use crate::simd::{Simd, dispatch};

/// Elements that are worth a task of their own.
const TASK: usize = 16 << 10;

/// Root-mean-square norm of each group of `weight.len()` elements: `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output differ in length");
    assert_eq!(x.len() % weight.len(), 0, "rows are not whole groups");
    let block = block(weight.len());
    out.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(
        |(out, x)| dispatch!(isa, rms_norms(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32])),
    );
}

/// [`rms_norm`] where it lies.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len() % weight.len(), 0, "rows are not whole groups");
    x.par_chunks_mut(block(weight.len()))
        .for_each(|x| dispatch!(isa, rms_norms_in_place(x: &mut [f32], weight: &[f32], eps: f32)));
}

/// Layer norm of each row of `weight.len()` elements, where it lies: `(x - mean) / sqrt(variance + eps) * weight + bias`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn layer_norm_in_place(
    isa: Isa,
    x: &mut [f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
) {
    assert!(bias.is_none_or(|bias| bias.len() == weight.len()), "weight and bias differ in length");
    assert_eq!(x.len() % weight.len(), 0, "rows are not whole");
    x.par_chunks_mut(block(weight.len())).for_each(
        |x| dispatch!(isa, layer_norms(x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32)),
    );
}

/// `x = factor * x`.
pub fn scale(x: &mut [f32], factor: f32) {
    x.par_chunks_mut(TASK).for_each(|x| x.iter_mut().for_each(|x| *x *= factor));
}

/// `x = activation(x)`.
pub fn activate(isa: Isa, x: &mut [f32], activation: Activation) {
    x.par_chunks_mut(TASK).for_each(|x| activate_part(isa, x, activation));
}

/// `gate = activation(gate) * up`.
///
/// # Panics
/// If the lengths differ.
pub fn gate(isa: Isa, gate: &mut [f32], up: &[f32], activation: Activation) {
    assert_eq!(gate.len(), up.len(), "gate and up differ in length");
    let parts = gate.par_chunks_mut(TASK).zip(up.par_chunks(TASK));
    parts.for_each(|(gate, up)| gate_part(isa, gate, up, activation));
}

/// [`activate`] in this thread.
pub(crate) fn activate_part(isa: Isa, x: &mut [f32], activation: Activation) {
    dispatch!(isa, activations(x: &mut [f32], activation: Activation));
}

/// [`gate`] in this thread.
pub(crate) fn gate_part(isa: Isa, gate: &mut [f32], up: &[f32], activation: Activation) {
    dispatch!(isa, gates(gate: &mut [f32], up: &[f32], activation: Activation));
}

/// Rotary embedding where it lies: in each head of `2 * half` columns, column `i` is paired with `i + half` and turned
/// by the angle of its position. `cos` and `sin` are `[positions, half]`, `positions` has one entry for each row.
///
/// # Panics
/// If the lengths do not fit each other or a position is outside the table.
pub fn rope(
    isa: Isa,
    x: &mut [f32],
    columns: usize,
    cos: &[f32],
    sin: &[f32],
    half: usize,
    positions: &[u32],
) {
    assert_eq!(x.len(), positions.len() * columns, "a position for each row");
    assert_eq!(columns % (2 * half), 0, "rows are not whole heads");
    let rows = TASK.div_ceil(columns);
    x.par_chunks_mut(rows * columns).zip(positions.par_chunks(rows)).for_each(|(x, positions)| {
        for (row, &position) in x.chunks_exact_mut(columns).zip(positions) {
            let at = position as usize * half..(position as usize + 1) * half;
            let (cos, sin) = (&cos[at.clone()], &sin[at]);
            dispatch!(isa, rotate(row: &mut [f32], cos: &[f32], sin: &[f32]));
        }
    });
}

/// A whole number of rows with about [`TASK`] elements.
fn block(columns: usize) -> usize {
    TASK.div_ceil(columns) * columns
}

/// Replaces `x` by an expression of its vectors; the remainder is padded with zeros.
///
/// A macro and not a function with a closure: a closure is compiled without the instruction set of the function around
/// it, and where it is not inlined every operation becomes a call.
macro_rules! map {
    ($x:expr, |$v:ident| $body:expr) => {{
        let mut vectors = $x.chunks_exact_mut(V::LANES);
        for part in &mut vectors {
            let $v = V::load(part);
            $body.store(part);
        }
        let remainder = vectors.into_remainder();
        if !remainder.is_empty() {
            let $v = V::load_part(remainder, 0.0);
            $body.store_part(remainder);
        }
    }};
}

/// [`map`] over pairs.
macro_rules! zip {
    ($x:expr, $y:expr, |$v:ident, $w:ident| $body:expr) => {{
        let mut vectors = $x.chunks_exact_mut(V::LANES);
        let mut others = $y.chunks_exact(V::LANES);
        for (part, other) in (&mut vectors).zip(&mut others) {
            let ($v, $w) = (V::load(part), V::load(other));
            $body.store(part);
        }
        let remainder = vectors.into_remainder();
        if !remainder.is_empty() {
            let ($v, $w) = (V::load_part(remainder, 0.0), V::load_part(others.remainder(), 0.0));
            $body.store_part(remainder);
        }
    }};
}

/// Sum of an expression of the elements, lane by lane and then across the lanes.
macro_rules! sum {
    ($x:expr, |$v:ident| $body:expr) => {{
        let mut total = V::splat(0.0);
        let vectors = $x.chunks_exact(V::LANES);
        let remainder = vectors.remainder();
        for part in vectors {
            let $v = V::load(part);
            total = total.add($body);
        }
        let mut rest = 0.0;
        if !remainder.is_empty() {
            let mut lanes = [0.0; 16];
            let $v = V::load_part(remainder, 0.0);
            $body.store(&mut lanes);
            for lane in &lanes[..remainder.len()] {
                rest += lane;
            }
        }
        total.sum() + rest
    }};
}

/// One divided by the root of what must be finite: of what is not, not a number, so that no row becomes zeros in silence.
#[inline(always)]
fn inverse_root(x: f32) -> f32 {
    if x.is_finite() { 1.0 / x.sqrt() } else { f32::NAN }
}

#[inline(always)]
fn rms_norms<V: Simd>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    out.copy_from_slice(x);
    rms_norms_in_place::<V>(out, weight, eps);
}

#[inline(always)]
fn rms_norms_in_place<V: Simd>(x: &mut [f32], weight: &[f32], eps: f32) {
    for row in x.chunks_exact_mut(weight.len()) {
        let mean_square = sum!(row, |x| x.mul(x)) / weight.len() as f32;
        let scale = V::splat(inverse_root(mean_square + eps));
        zip!(row, weight, |x, w| x.mul(scale).mul(w));
    }
}

#[inline(always)]
fn layer_norms<V: Simd>(x: &mut [f32], weight: &[f32], bias: Option<&[f32]>, eps: f32) {
    let columns = weight.len() as f32;
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = V::splat(sum!(row, |x| x) / columns);
        let variance = sum!(row, |x| x.sub(mean).mul(x.sub(mean))) / columns;
        let scale = V::splat(inverse_root(variance + eps));
        zip!(row, weight, |x, w| x.sub(mean).mul(scale).mul(w));
        if let Some(bias) = bias {
            zip!(row, bias, |x, b| x.add(b));
        }
    }
}

#[inline(always)]
fn silu<V: Simd>(x: V) -> V {
    x.mul(math::sigmoid(x))
}

#[inline(always)]
fn gelu_erf<V: Simd>(x: V) -> V {
    let erf = math::erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2)));
    x.mul(V::splat(0.5)).mul(erf.add(V::splat(1.0)))
}

#[inline(always)]
fn gelu_tanh<V: Simd>(x: V) -> V {
    let cube = x.mul(x).mul(x);
    let inner = cube.mul_add(V::splat(0.044_715), x).mul(V::splat(0.797_884_6));
    x.mul(V::splat(0.5)).mul(math::tanh(inner).add(V::splat(1.0)))
}

#[inline(always)]
fn activations<V: Simd>(x: &mut [f32], activation: Activation) {
    // The match is outside of the loops, so that each loop is straight.
    match activation {
        Activation::Silu => map!(x, |x| silu(x)),
        Activation::GeluErf => map!(x, |x| gelu_erf(x)),
        Activation::GeluTanh => map!(x, |x| gelu_tanh(x)),
        // The constant first, so that NaN stays NaN.
        Activation::Relu => map!(x, |x| V::splat(0.0).max(x)),
        Activation::Tanh => map!(x, |x| math::tanh(x)),
    }
}

#[inline(always)]
fn gates<V: Simd>(gate: &mut [f32], up: &[f32], activation: Activation) {
    match activation {
        Activation::Silu => zip!(gate, up, |g, u| silu(g).mul(u)),
        other => {
            activations::<V>(gate, other);
            zip!(gate, up, |g, u| g.mul(u));
        }
    }
}

#[inline(always)]
fn rotate<V: Simd>(row: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in row.chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        let whole = half / V::LANES * V::LANES;
        for i in (0..whole).step_by(V::LANES) {
            let (c, s) = (V::load(&cos[i..]), V::load(&sin[i..]));
            let (l, h) = (V::load(&low[i..]), V::load(&high[i..]));
            l.mul(c).sub(h.mul(s)).store(&mut low[i..]);
            h.mul(c).add(l.mul(s)).store(&mut high[i..]);
        }
        for i in whole..half {
            let (l, h) = (low[i], high[i]);
            low[i] = l * cos[i] - h * sin[i];
            high[i] = h * cos[i] + l * sin[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_numbers::numbers;

    fn close(found: &[f32], expected: impl Iterator<Item = f64>) {
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*f) - e).abs() < 2e-6 * e.abs().max(1.0), "{i}: {f} for {e}");
        }
    }

    #[test]
    fn norms_follow_their_formulas_on_every_instruction_set() {
        for isa in Isa::supported() {
            for columns in [1, 5, 8, 16, 37, 384] {
                let x = numbers(columns * 3, 1);
                let (weight, bias) = (numbers(columns, 2), numbers(columns, 3));
                let mut rms = vec![0.0; x.len()];
                rms_norm(isa, &x, &weight, 1e-6, &mut rms);
                let mut layer = x.clone();
                layer_norm_in_place(isa, &mut layer, &weight, Some(&bias), 1e-5);
                for (r, row) in x.chunks(columns).enumerate() {
                    let n = columns as f64;
                    let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
                    let scale = (row.iter().map(|x| x * x).sum::<f64>() / n + 1e-6).sqrt();
                    let at = r * columns..(r + 1) * columns;
                    let w = |i: usize| f64::from(weight[i]);
                    close(&rms[at.clone()], row.iter().enumerate().map(|(i, x)| x / scale * w(i)));
                    let mean = row.iter().sum::<f64>() / n;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                    let expected = row.iter().enumerate().map(|(i, x)| {
                        (x - mean) / (variance + 1e-5).sqrt() * w(i) + f64::from(bias[i])
                    });
                    // A row of one element is all cancellation: 0 / sqrt(eps).
                    close(&layer[at], expected);
                }
            }
        }
    }

    #[test]
    fn activations_follow_their_formulas_on_every_instruction_set() {
        let x: Vec<f32> = (-1201..=1200).map(|i| i as f32 * 0.01).collect();
        for isa in Isa::supported() {
            let run = |activation| {
                let mut y = x.clone();
                activate(isa, &mut y, activation);
                y
            };
            let exact = |f: fn(f64) -> f64| x.iter().map(move |&x| f(f64::from(x)));
            close(&run(Activation::Silu), exact(|x| x / (1.0 + (-x).exp())));
            close(&run(Activation::Relu), exact(|x| x.max(0.0)));
            close(&run(Activation::Tanh), exact(f64::tanh));
            let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            let gelu: Vec<f64> = exact(|x| x).map(|x| x * 0.5 * (1.0 + inner(x).tanh())).collect();
            close(&run(Activation::GeluTanh), gelu.into_iter());
            let mut gated = x.clone();
            gate(isa, &mut gated, &x, Activation::Silu);
            close(&gated, exact(|x| x * x / (1.0 + (-x).exp())));
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so_on_every_instruction_set() {
        use Activation::{GeluErf, GeluTanh, Relu, Silu, Tanh};
        for (isa, f) in Isa::supported()
            .into_iter()
            .flat_map(|i| [GeluErf, GeluTanh, Relu, Silu, Tanh].map(|f| (i, f)))
        {
            let mut x = vec![f32::NAN; 37];
            activate(isa, &mut x, f);
            assert!(x.iter().all(|x| x.is_nan()), "{isa} {f:?}");
        }
    }

    #[test]
    fn norms_of_rows_too_large_to_be_squared_are_no_numbers() {
        let mut x = vec![1e30, -1e30, 1e25, 0.0, 3.0];
        let weight = vec![1.0; x.len()];
        for isa in Isa::supported() {
            let mut rms = vec![0.0; x.len()];
            rms_norm(isa, &x, &weight, 1e-6, &mut rms);
            assert!(rms.iter().all(|x| x.is_nan()), "{isa}: {rms:?}");
            let mut layer = x.clone();
            layer_norm_in_place(isa, &mut layer, &weight, None, 1e-5);
            assert!(layer.iter().all(|x| x.is_nan()), "{isa}: {layer:?}");
        }
        // What can be squared is as ever.
        x.iter_mut().for_each(|x| *x *= 1e-12);
        rms_norm_in_place(Isa::Portable, &mut x, &weight, 1e-6);
        assert!(x.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn rope_turns_pairs_by_the_angle_of_the_position() {
        for isa in Isa::supported() {
            for half in [1, 3, 8, 64] {
                let angles: Vec<f32> = (0..4 * half).map(|i| i as f32 * 0.1).collect();
                let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
                let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
                let (columns, positions) = (4 * half, [3, 0, 2]);
                let before = numbers(columns * 3, 5);
                let mut x = before.clone();
                rope(isa, &mut x, columns, &cos, &sin, half, &positions);
                for (row, &position) in positions.iter().enumerate() {
                    for column in 0..columns {
                        let (head, i) = (column / (2 * half), column % half);
                        let low = before[row * columns + head * 2 * half + i];
                        let high = before[row * columns + head * 2 * half + half + i];
                        let (c, s) =
                            (cos[position as usize * half + i], sin[position as usize * half + i]);
                        let expected = match column % (2 * half) < half {
                            true => low * c - high * s,
                            false => high * c + low * s,
                        };
                        assert!((x[row * columns + column] - expected).abs() < 1e-6);
                    }
                }
            }
        }
    }
}
