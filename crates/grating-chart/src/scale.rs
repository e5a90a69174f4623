//! From values to pixels, and which values an axis writes.

use crate::Axis;

/// One axis with the values at its two ends and where those lie, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    log: bool,
    first: f64,
    last: f64,
    from: i32,
    to: i32,
}

impl Scale {
    /// As long as the axis says or, where it says nothing, as its values need; y axes get air at the top.
    pub(crate) fn new(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        (from, to): (i32, i32),
    ) -> Self {
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (mut low, mut high) = if low > high { (1.0, 2.0) } else { (low, high) };
        if axis.from_zero && !axis.log {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if low == high {
            (low, high) = if axis.log { (low / 2.0, high * 2.0) } else { (low - 0.5, high + 0.5) };
        }
        let (first, last) = axis.range.unwrap_or(match axis.log {
            true => (low, high),
            false => {
                let step = step(high - low);
                ((low / step).floor() * step, (high / step).ceil() * step)
            }
        });
        Scale { log: axis.log, first, last, from, to }
    }

    /// Where a value lies, in pixels; beyond the ends at the end.
    pub(crate) fn place(&self, value: f64) -> i32 {
        let share = match self.log {
            true => (value / self.first).ln() / (self.last / self.first).ln(),
            false => (value - self.first) / (self.last - self.first),
        };
        self.from + (share.clamp(0.0, 1.0) * f64::from(self.to - self.from)).round() as i32
    }

    /// Round values between the ends.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        let inside =
            |value: &f64| *value >= self.first * 0.999_999 && *value <= self.last * 1.000_001;
        if self.log {
            let decade = |exponent: i32| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(exponent));
            let decades = self.first.log10().floor() as i32..=self.last.log10().ceil() as i32;
            return decades.flat_map(decade).filter(inside).collect();
        }
        let step = step(self.last - self.first);
        let (first, last) = ((self.first / step).ceil() as i64, (self.last / step).floor() as i64);
        (first..=last).map(|count| count as f64 * step).collect()
    }
}

/// The round number that cuts a length into four to eight parts.
fn step(length: f64) -> f64 {
    let decade = 10_f64.powf((length / 4.0).log10().floor());
    [5.0, 2.0, 1.0].map(|m| m * decade).into_iter().find(|s| length / s >= 4.0).unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(axis: Axis, values: &[f64]) -> Scale {
        Scale::new(&axis, values.iter().copied(), (0, 100))
    }

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = |values: &[f64]| scale(Axis::new("s"), values).ticks();
        assert_eq!(ticks(&[0.0, 9.7]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(&[-3.0, 1.0]), [-3.0, -2.0, -1.0, 0.0, 1.0]);
        for length in [0.37, 1.0, 4.2, 79.0, 123_456.0] {
            let found = ticks(&[0.0, length]).len();
            assert!((5..=9).contains(&found), "{found} ticks for {length}");
        }
        let log = scale(Axis::new("candidates").log(), &[10.0, 1000.0]);
        assert_eq!(log.ticks(), [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
    }

    #[test]
    fn values_lie_where_their_share_is() {
        let linear = scale(Axis::new("s").between(0.0, 10.0), &[]);
        assert_eq!([0.0, 2.5, 10.0, 11.0, -1.0].map(|v| linear.place(v)), [0, 25, 100, 100, 0]);
        let log = scale(Axis::new("s").log().between(1.0, 100.0), &[]);
        assert_eq!([1.0, 10.0, 100.0].map(|v| log.place(v)), [0, 50, 100]);
    }

    #[test]
    fn one_value_and_none_have_an_axis() {
        assert!(scale(Axis::new("s"), &[3.0]).ticks().len() > 1);
        assert!(scale(Axis::new("s").from_zero(), &[]).ticks().contains(&0.0));
    }
}
