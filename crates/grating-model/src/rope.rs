//! Rotary position angles, as `transformers` computes them (`modeling_rope_utils.py`).

/// A rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RopeSpec {
    /// Base of the frequencies.
    pub(crate) theta: f64,
    pub(crate) scaling: RopeScaling,
    /// Columns of a head, an even number.
    pub(crate) width: usize,
}

/// How rotary frequencies are changed for texts longer than those of the pre-training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RopeScaling {
    /// Not.
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The base grows by a factor, which leaves high frequencies nearly as they are (`NTKScalingRotaryEmbedding` in the code
    /// that GTE's checkpoints bring).
    Ntk {
        /// Of the base.
        factor: f64,
    },
    /// Llama 3.1's rule (`_compute_llama3_parameters` in transformers).
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Below `original / low_freq_factor` wavelengths are interpolated.
        low_freq_factor: f64,
        /// Above `original / high_freq_factor` wavelengths are kept.
        high_freq_factor: f64,
        /// Context length of the pre-training.
        original: f64,
    },
}

impl RopeSpec {
    /// The embedding's frequencies.
    pub(crate) fn frequencies(&self) -> Frequencies {
        let frequency = |i| {
            let theta = match self.scaling {
                RopeScaling::Ntk { factor } => self.theta * factor,
                _ => self.theta,
            };
            let frequency = 1.0 / theta.powf((2 * i) as f64 / self.width as f64);
            scale(frequency, self.scaling, self.width) as f32
        };
        Frequencies { inverse: (0..self.width / 2).map(frequency).collect() }
    }
}

/// Inverse frequencies of a rotary embedding, `[width / 2]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frequencies {
    inverse: Vec<f32>,
}

impl Frequencies {
    /// Writes `function` of the angles of positions 0, 1, ... into `out`, `[positions, width / 2]` row-major.
    pub(crate) fn write(&self, function: fn(f64) -> f64, out: &mut [f32]) {
        let width = self.inverse.len().max(1);
        for (position, out) in out.chunks_exact_mut(width).enumerate() {
            for (out, frequency) in out.iter_mut().zip(&self.inverse) {
                // The product is rounded to f32 as in the reference; its cosine is then taken exactly.
                *out = function(f64::from(position as f32 * frequency)) as f32;
            }
        }
    }
}

fn scale(frequency: f64, scaling: RopeScaling, width: usize) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Ntk { factor } => frequency / factor.powf(2.0 / width as f64),
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
        let spec = RopeSpec { theta: 10_000.0, scaling: RopeScaling::None, width: 4 };
        let rope = spec.frequencies();
        assert_eq!(rope.inverse, [1.0, 0.01]);
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
        assert_eq!(scale(1.0, scaling, 64), 1.0);
        assert_eq!(scale(1e-5, scaling, 64), 1e-5 / 8.0);
    }

    #[test]
    fn ntk_grows_the_base_and_divides_all_frequencies_alike() {
        let spec = RopeSpec { theta: 100.0, scaling: RopeScaling::Ntk { factor: 16.0 }, width: 4 };
        // Base 1600, all divided by 16 ^ (2 / 4).
        assert_eq!(spec.frequencies().inverse, [0.25, 0.25 / 40.0]);
    }
}
