//! A vector of f32 lanes, so that a kernel is written once and compiled for each instruction set.
//!
//! Kernels are `#[inline(always)]` functions over [`Simd`]; [`dispatch`] instantiates them inside functions that
//! enable the instructions. A lane never touches its neighbours except in the two reductions, whose order is fixed.

/// f32 lanes of one instruction set.
///
/// Methods are safe to call only inside a function that enables the instruction set; [`dispatch`] takes care of it.
pub(crate) trait Simd: Copy {
    /// Lanes.
    const LANES: usize;
    /// All lanes equal.
    fn splat(value: f32) -> Self;
    /// Lanes from the first `LANES` elements.
    fn load(from: &[f32]) -> Self;
    /// Lanes to the first `LANES` elements.
    fn store(self, to: &mut [f32]);
    /// [`Self::load`] without a check.
    ///
    /// # Safety
    /// `LANES` elements must lie there.
    unsafe fn load_from(from: *const f32) -> Self;
    /// [`Self::store`] without a check.
    ///
    /// # Safety
    /// There must be room for `LANES` elements.
    unsafe fn store_to(self, to: *mut f32);
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// The larger of each pair.
    fn max(self, other: Self) -> Self;
    /// The smaller of each pair.
    fn min(self, other: Self) -> Self;
    /// `self * factor + addend`, in one rounding where the instruction set can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The magnitudes.
    fn abs(self) -> Self;
    /// Magnitudes of `self`, signs of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// The nearest whole numbers.
    fn round(self) -> Self;
    /// `2 ^ self` for whole numbers in `-126..=127`.
    fn exp2_whole(self) -> Self;

    /// Eight rows of eight elements as columns: element `c` of row `r` goes to `to + c * stride + r`.
    ///
    /// # Safety
    /// Eight elements must lie at each of `rows`, and there must be room for so many.
    #[inline(always)]
    unsafe fn transpose(rows: [*const f32; 8], to: *mut f32, stride: usize) {
        for (r, row) in rows.into_iter().enumerate() {
            for c in 0..8 {
                // SAFETY: as promised to this function.
                unsafe { to.add(c * stride + r).write(row.add(c).read()) }
            }
        }
    }

    /// Lanes from a slice shorter than a vector; the rest are `fill`.
    #[inline(always)]
    fn load_part(from: &[f32], fill: f32) -> Self {
        let mut lanes = [fill; 16];
        lanes[..from.len()].copy_from_slice(from);
        Self::load(&lanes)
    }

    /// The first lanes to a slice shorter than a vector.
    #[inline(always)]
    fn store_part(self, to: &mut [f32]) {
        let mut lanes = [0.0; 16];
        self.store(&mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    /// Sum of the lanes, folded in halves.
    #[inline(always)]
    fn sum(self) -> f32 {
        fold(self, |a, b| a + b)
    }

    /// Largest lane.
    #[inline(always)]
    fn largest(self) -> f32 {
        fold(self, f32::max)
    }
}

#[inline(always)]
fn fold<V: Simd>(vector: V, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; 16];
    vector.store(&mut lanes);
    let mut width = V::LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = combine(lanes[lane], lanes[lane + width]);
        }
    }
    lanes[0]
}

/// Eight lanes of plain Rust, for any processor.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 8]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Plain(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Simd for Plain {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Plain([value; 8])
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        Plain(std::array::from_fn(|i| from[i]))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..8].copy_from_slice(&self.0);
    }
    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Self {
        // SAFETY: the caller promises eight elements.
        Plain(unsafe { from.cast::<[f32; 8]>().read() })
    }
    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32) {
        // SAFETY: the caller promises room for eight elements.
        unsafe { to.cast::<[f32; 8]>().write(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Plain(self.0.map(f32::abs))
    }
    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        self.zip(sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Adding and taking away 1.5 * 2^23 leaves whole numbers; exact for the magnitudes that occur here.
        const SHIFT: f32 = 12_582_912.0;
        Plain(self.0.map(|x| (x + SHIFT) - SHIFT))
    }
    #[inline(always)]
    fn exp2_whole(self) -> Self {
        Plain(self.0.map(|x| f32::from_bits((((x as i32) + 127) << 23) as u32)))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use std::arch::x86_64::*;

    use super::Simd;

    /// AVX2 with FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);
    /// AVX-512F.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    // SAFETY of every block below: the intrinsics need their instruction set, which `dispatch` enables around the
    // kernels that use these types; loads and stores check the slice's length first.
    macro_rules! implement {
        ($name:ident, $lanes:literal, $set1:ident, $loadu:ident, $storeu:ident, $add:ident, $sub:ident, $mul:ident,
         $div:ident, $max:ident, $min:ident, $fmadd:ident, $abs:ident, $copysign:ident, $sum:ident,
         $largest:ident, |$x:ident| $round:expr, $exp2:expr) => {
            impl Simd for $name {
                const LANES: usize = $lanes;
                #[inline(always)]
                fn splat(value: f32) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $set1(value) })
                }
                #[inline(always)]
                fn load(from: &[f32]) -> Self {
                    assert!(from.len() >= $lanes);
                    // SAFETY: see above.
                    $name(unsafe { $loadu(from.as_ptr()) })
                }
                #[inline(always)]
                fn store(self, to: &mut [f32]) {
                    assert!(to.len() >= $lanes);
                    // SAFETY: see above.
                    unsafe { $storeu(to.as_mut_ptr(), self.0) }
                }
                #[inline(always)]
                unsafe fn load_from(from: *const f32) -> Self {
                    // SAFETY: the caller promises so many elements.
                    $name(unsafe { $loadu(from) })
                }
                #[inline(always)]
                unsafe fn store_to(self, to: *mut f32) {
                    // SAFETY: the caller promises room for so many elements.
                    unsafe { $storeu(to, self.0) }
                }
                #[inline(always)]
                unsafe fn transpose(rows: [*const f32; 8], to: *mut f32, stride: usize) {
                    // SAFETY: see above; as promised to this function.
                    unsafe { transpose_avx2(rows, to, stride) }
                }
                #[inline(always)]
                fn sum(self) -> f32 {
                    // SAFETY: see above.
                    unsafe { $sum(self.0) }
                }
                #[inline(always)]
                fn largest(self) -> f32 {
                    // SAFETY: see above.
                    unsafe { $largest(self.0) }
                }
                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $sub(self.0, other.0) })
                }
                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $mul(self.0, other.0) })
                }
                #[inline(always)]
                fn div(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $div(self.0, other.0) })
                }
                #[inline(always)]
                fn max(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $max(self.0, other.0) })
                }
                #[inline(always)]
                fn min(self, other: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $min(self.0, other.0) })
                }
                #[inline(always)]
                fn mul_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $fmadd(self.0, factor.0, addend.0) })
                }
                #[inline(always)]
                fn abs(self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $abs(self.0) })
                }
                #[inline(always)]
                fn copysign(self, sign: Self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $copysign(self.0, sign.0) })
                }
                #[inline(always)]
                fn round(self) -> Self {
                    let $x = self.0;
                    // SAFETY: see above.
                    $name(unsafe { $round })
                }
                #[inline(always)]
                fn exp2_whole(self) -> Self {
                    // SAFETY: see above.
                    $name(unsafe { $exp2(self.0) })
                }
            }
        };
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn abs_avx2(x: __m256) -> __m256 {
        _mm256_andnot_ps(_mm256_set1_ps(-0.0), x)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn copysign_avx2(x: __m256, sign: __m256) -> __m256 {
        _mm256_or_ps(abs_avx2(x), _mm256_and_ps(_mm256_set1_ps(-0.0), sign))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn copysign_avx512(x: __m512, sign: __m512) -> __m512 {
        let (x, sign) = (_mm512_castps_si512(x), _mm512_castps_si512(sign));
        // Of the third operand where the mask has a bit, of the first elsewhere.
        let mask = _mm512_set1_epi32(i32::MIN);
        _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xd8>(x, sign, mask))
    }

    /// [`Simd::transpose`].
    ///
    /// # Safety
    /// As for that.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn transpose_avx2(rows: [*const f32; 8], to: *mut f32, stride: usize) {
        let mut pairs = [_mm256_setzero_ps(); 8];
        for i in [0, 2, 4, 6] {
            // SAFETY: the caller promises eight elements.
            let (a, b) = unsafe { (_mm256_loadu_ps(rows[i]), _mm256_loadu_ps(rows[i + 1])) };
            pairs[i] = _mm256_unpacklo_ps(a, b);
            pairs[i + 1] = _mm256_unpackhi_ps(a, b);
        }
        // quads[i + c] has, in its halves, columns c and 4 + c of rows i..i + 4.
        let mut quads = pairs;
        for i in [0, 4] {
            for half in [0, 1] {
                let (a, b) = (pairs[i + half], pairs[i + 2 + half]);
                quads[i + 2 * half] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
                quads[i + 2 * half + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
            }
        }
        for c in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
            let high = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
            // SAFETY: the caller promises that room.
            unsafe {
                _mm256_storeu_ps(to.add(c * stride), low);
                _mm256_storeu_ps(to.add((4 + c) * stride), high);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum_avx2(x: __m256) -> f32 {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn largest_avx2(x: __m256) -> f32 {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    }

    implement!(
        Avx2,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_div_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        _mm256_fmadd_ps,
        abs_avx2,
        copysign_avx2,
        sum_avx2,
        largest_avx2,
        |x| _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x),
        |x| {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    );
    implement!(
        Avx512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_div_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        _mm512_fmadd_ps,
        _mm512_abs_ps,
        copysign_avx512,
        _mm512_reduce_add_ps,
        _mm512_reduce_max_ps,
        |x| _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x),
        |x| {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(x), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    );
}

/// Runs `kernel::<V>(arguments)` with the widest lanes that the instruction set has.
///
/// On a processor without the instruction set the plain lanes are used.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512($($argument: $type),*) $(-> $output)? {
                $kernel::<$crate::simd::x86::Avx512>($($argument),*)
            }
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $output)? {
                $kernel::<$crate::simd::x86::Avx2>($($argument),*)
            }
            match $isa {
                isa if isa >= $crate::Isa::Avx512 && isa.is_supported() => {
                    // SAFETY: the processor has the instructions.
                    unsafe { avx512($($argument),*) }
                }
                // SAFETY: likewise.
                isa if isa >= $crate::Isa::Avx2 && isa.is_supported() => unsafe { avx2($($argument),*) },
                _ => $kernel::<$crate::simd::Plain>($($argument),*),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = $isa;
            $kernel::<$crate::simd::Plain>($($argument),*)
        }
    }};
}
pub(crate) use dispatch;
