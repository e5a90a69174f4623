//! Numbers to blocks of [`Format::Q4K`](crate::Format::Q4K): eight groups of 32, each `scale * step - minimum`.

use half::f16;

/// Elements of a group.
const GROUP: usize = 32;
/// Groups of a block.
const GROUPS: usize = 8;
/// Elements of a block.
pub(super) const BLOCK: usize = GROUP * GROUPS;
/// The largest step.
const STEPS: f32 = 15.0;
/// The largest scale and minimum, in units of the block's own.
const UNITS: f32 = 63.0;
/// Ranges that are tried for a group, as shares of the range that its numbers span: with a smaller one the outermost
/// numbers are cut and all others come closer.
const RANGES: [f32; 8] = [1.06, 1.03, 1.0, 0.97, 0.94, 0.91, 0.87, 0.82];

/// Scale and minimum of a group, both at least 0.
#[derive(Clone, Copy, Default)]
struct Line {
    scale: f32,
    minimum: f32,
}

/// Appends `block` to `out`: scales of scales and minima in f16, twelve bytes of both in six bits, 128 of steps.
pub(super) fn quantize(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let (groups, _) = block.as_chunks::<GROUP>();
    let mut lines = [Line::default(); GROUPS];
    for (line, group) in lines.iter_mut().zip(groups) {
        *line = fit(group);
    }
    let largest = |of: fn(&Line) -> f32| lines.iter().map(of).fold(0.0, f32::max);
    let unit = |largest: f32| f16::from_f32(largest / UNITS);
    let (scale_unit, minimum_unit) = (unit(largest(|l| l.scale)), unit(largest(|l| l.minimum)));
    out.extend(scale_unit.to_le_bytes());
    out.extend(minimum_unit.to_le_bytes());
    let (mut scales, mut minima) = ([0; GROUPS], [0; GROUPS]);
    for (i, line) in lines.iter_mut().enumerate() {
        (scales[i], line.scale) = to_units(line.scale, scale_unit);
        (minima[i], line.minimum) = to_units(line.minimum, minimum_unit);
    }
    out.extend(six_bits(&scales, &minima));
    // The steps to the lines as they are stored.
    for (pair, lines) in groups.as_chunks::<2>().0.iter().zip(lines.as_chunks::<2>().0) {
        let [low, high] = [0, 1].map(|half| pair[half].map(|x| step(x, lines[half]) as u8));
        out.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    }
}

/// The line on which the steps come closest to the numbers, in squares.
fn fit(group: &[f32; GROUP]) -> Line {
    let lowest = group.iter().fold(0.0f32, |m, &x| m.min(x));
    let highest = group.iter().fold(0.0f32, |m, &x| m.max(x));
    if lowest == highest {
        return Line::default();
    }
    let mut best = (f32::INFINITY, Line::default());
    for range in RANGES {
        let rough = Line { scale: (highest - lowest) * range / STEPS, minimum: -lowest * range };
        for line in [rough, regress(group, rough)] {
            let error = error(group, line);
            if error < best.0 {
                best = (error, line);
            }
        }
    }
    best.1
}

/// Least squares over the steps that `line` gives.
fn regress(group: &[f32; GROUP], line: Line) -> Line {
    let (mut sum, mut squares, mut numbers, mut products) = (0.0, 0.0, 0.0, 0.0);
    for &x in group {
        let q = step(x, line);
        sum += q;
        squares += q * q;
        numbers += x;
        products += q * x;
    }
    let count = GROUP as f32;
    let spread = count * squares - sum * sum;
    if spread <= 0.0 {
        return line;
    }
    let scale = (count * products - sum * numbers) / spread;
    let minimum = (scale * sum - numbers) / count;
    match (scale > 0.0, minimum >= 0.0) {
        (true, true) => Line { scale, minimum },
        // No number can be added, so the line goes through 0.
        (true, false) => Line { scale: products / squares, minimum: 0.0 },
        _ => line,
    }
}

fn error(group: &[f32; GROUP], line: Line) -> f32 {
    group.iter().map(|&x| (line.scale * step(x, line) - line.minimum - x).powi(2)).sum()
}

fn step(x: f32, line: Line) -> f32 {
    match line.scale > 0.0 {
        true => ((x + line.minimum) / line.scale).round_ties_even().clamp(0.0, STEPS),
        false => 0.0,
    }
}

/// The nearest whole number of units, and what it stands for.
fn to_units(value: f32, unit: f16) -> (u8, f32) {
    let unit = unit.to_f32();
    let count = if unit > 0.0 { (value / unit).round_ties_even().clamp(0.0, UNITS) } else { 0.0 };
    (count as u8, count * unit)
}

/// The first four scales and minima in the low six bits of a byte each, the last four in half-bytes, their upper two
/// bits in what the first four leave.
fn six_bits(scales: &[u8; GROUPS], minima: &[u8; GROUPS]) -> [u8; 12] {
    let mut stored = [0; 12];
    for i in 0..GROUPS / 2 {
        stored[i] = scales[i] | scales[i + 4] >> 4 << 6;
        stored[i + 4] = minima[i] | minima[i + 4] >> 4 << 6;
        stored[i + 8] = scales[i + 4] & 15 | minima[i + 4] << 4;
    }
    stored
}
