//! Elementary functions over lanes, accurate to a few units in the last place.

use crate::simd::Simd;

/// `e ^ x`; tiny far below, infinity never (the argument is clamped to ±87), NaN for NaN.
///
/// Range reduction to `|r| <= ln 2 / 2`, then the Taylor series to degree 7, whose remainder there is below 1e-9.
#[inline(always)]
pub(crate) fn exp<V: Simd>(x: V) -> V {
    // The constant first: of two operands the processor returns the second where one is not a number.
    let x = V::splat(87.0).min(V::splat(-87.0).max(x));
    let n = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
    // ln 2 in two parts, so that n * ln 2 is taken away without rounding.
    let r = n.mul_add(V::splat(-0.693_359_4), x);
    let r = n.mul_add(V::splat(2.121_944_4e-4), r);
    let mut p = V::splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, V::splat(coefficient));
    }
    p.mul(n.exp2_whole())
}

/// `1 / (1 + e ^ -x)`.
#[inline(always)]
pub(crate) fn sigmoid<V: Simd>(x: V) -> V {
    let one = V::splat(1.0);
    one.div(one.add(exp(V::splat(0.0).sub(x))))
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<V: Simd>(x: V) -> V {
    let two = V::splat(2.0);
    sigmoid(x.mul(two)).mul_add(two, V::splat(-1.0))
}

/// Error function: Abramowitz and Stegun 7.1.26, absolute error below 2e-7 before rounding.
#[inline(always)]
pub(crate) fn erf<V: Simd>(x: V) -> V {
    let one = V::splat(1.0);
    let magnitude = x.abs();
    let t = one.div(magnitude.mul_add(V::splat(0.327_591_1), one));
    let mut p = V::splat(1.061_405_4);
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_74, 0.254_829_6] {
        p = p.mul_add(t, V::splat(coefficient));
    }
    let complement = p.mul(t).mul(exp(V::splat(0.0).sub(magnitude.mul(magnitude))));
    one.sub(complement).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;

    fn apply(f: impl Fn(Plain) -> Plain, x: f32) -> f32 {
        let mut out = [0.0; 8];
        f(Plain::splat(x)).store(&mut out);
        out[0]
    }

    #[test]
    fn exp_is_within_three_ulps() {
        for i in -8000..=8000 {
            let x = i as f32 * 0.01;
            let exact = f64::from(x).exp();
            let relative = (f64::from(apply(exp, x)) / exact - 1.0).abs();
            assert!(relative < 3.0 * f64::from(f32::EPSILON), "exp({x}): {relative:e}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for f in [exp::<Plain>, tanh::<Plain>, erf::<Plain>, sigmoid::<Plain>] {
            assert!(apply(f, f32::NAN).is_nan());
        }
    }

    #[test]
    fn tanh_and_erf_are_close() {
        for i in -1000..=1000 {
            let x = i as f32 * 0.01;
            assert!((f64::from(apply(tanh, x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh({x})");
            assert!((f64::from(apply(erf, x)) - exact_erf(f64::from(x))).abs() < 5e-7, "erf({x})");
        }
    }

    /// The series around zero, and 1 beyond, which is enough for a check to 1e-9.
    fn exact_erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }
}
