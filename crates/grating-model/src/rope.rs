//! Rotary position angles, as `transformers` computes them (`modeling_rope_utils.py`).

use crate::config::RopeScaling;

/// Inverse frequencies of a rotary embedding, `[head_dim / 2]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    inverse_frequencies: Vec<f32>,
}

impl Rope {
    pub(crate) fn new(theta: f64, scaling: RopeScaling, head_dim: usize) -> Self {
        let inverse_frequencies = (0..head_dim / 2)
            .map(|i| {
                let frequency = 1.0 / theta.powf((2 * i) as f64 / head_dim as f64);
                scale(frequency, scaling) as f32
            })
            .collect();
        Rope { inverse_frequencies }
    }

    /// Writes `function` of the angles of positions 0, 1, ... into `out`, `[positions, head_dim / 2]` row-major.
    pub(crate) fn write(&self, function: fn(f64) -> f64, out: &mut [f32]) {
        let width = self.inverse_frequencies.len().max(1);
        for (position, out) in out.chunks_exact_mut(width).enumerate() {
            for (out, frequency) in out.iter_mut().zip(&self.inverse_frequencies) {
                // The product is rounded to f32 as in the reference; its cosine is then taken exactly.
                *out = function(f64::from(position as f32 * frequency)) as f32;
            }
        }
    }
}

fn scale(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            let wavelength = std::f64::consts::TAU / frequency;
            if wavelength < original / high_freq_factor {
                frequency
            } else if wavelength > original / low_freq_factor {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_turns_nothing_and_frequencies_fall() {
        let rope = Rope::new(10_000.0, RopeScaling::None, 4);
        assert_eq!(rope.inverse_frequencies, [1.0, 0.01]);
        let (mut cos, mut sin) = ([7.0; 4], [7.0; 4]);
        rope.write(f64::cos, &mut cos);
        rope.write(f64::sin, &mut sin);
        assert_eq!((&cos[..2], &sin[..2]), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        assert_eq!((cos[2], sin[3]), (1f64.cos() as f32, f64::from(0.01f32).sin() as f32));
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original: 8192.0,
        };
        assert_eq!(scale(1.0, scaling), 1.0);
        assert_eq!(scale(1e-5, scaling), 1e-5 / 8.0);
    }
}
