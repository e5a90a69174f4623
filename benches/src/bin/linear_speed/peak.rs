//! How many operations a second the instructions give when nothing else is in their way.

use grating_kernels::{Compute, Format, Isa};

/// Multiplications and additions a second on all threads of the pool; `None` where the
/// instructions are not fixed.
#[cfg(target_arch = "x86_64")]
pub(crate) fn operations_per_second(isa: Isa, compute: Compute, format: Format) -> Option<f64> {
    let (chains, operations): (unsafe fn(usize), f64) = match (compute, isa) {
        (_, Isa::Portable) | (Compute::Int8, Isa::Avx512) => return None,
        (Compute::F32, Isa::Avx2 | Isa::AvxVnni) => (x86_64::avx2_f32, 2.0 * 8.0),
        (Compute::Int8, Isa::Avx2) => (x86_64::avx2_int8, 2.0 * 32.0),
        (Compute::Int8, Isa::AvxVnni) => match std::arch::is_x86_feature_detected!("avxvnni") {
            true => (x86_64::avx_vnni_int8, 2.0 * 32.0),
            false => (x86_64::avx512vl_int8, 2.0 * 32.0),
        },
        // Of bfloat16 parts: three of the inputs by one, two or three of the weights, those that count.
        (Compute::F32, Isa::Amx) => match format {
            Format::Bf16 => (x86_64::amx_bf16, x86_64::TILES / 3.0),
            Format::F16 => (x86_64::amx_bf16, x86_64::TILES / 5.0),
            _ => (x86_64::amx_bf16, x86_64::TILES / 6.0),
        },
        // Of three digits by three, without those that are left out.
        (Compute::Digits, _) => match format {
            Format::Bf16 | Format::F16 => (x86_64::amx_int8, 2.0 * x86_64::TILES / 7.0),
            _ => (x86_64::amx_int8, 2.0 * x86_64::TILES / 8.0),
        },
        (_, Isa::Amx) => (x86_64::amx_bf16, x86_64::TILES),
        (Compute::F32, _) => (x86_64::avx512_f32, 2.0 * 16.0),
        (Compute::Bf16, _) => (x86_64::avx512_bf16, 2.0 * 32.0),
        (Compute::Int8, _) => (x86_64::avx512_int8, 2.0 * 64.0),
    };
    const STEPS: usize = 20_000;
    let speed = || {
        let times = rayon::broadcast(|_| {
            let start = std::time::Instant::now();
            // SAFETY: the caller has kernels of this instruction set, so the machine has it.
            unsafe { chains(STEPS) };
            start.elapsed().as_secs_f64()
        });
        let one = (STEPS * x86_64::CHAINS) as f64 * operations;
        times.iter().map(|seconds| one / seconds).sum::<f64>()
    };
    // The median: single runs may be alone on the machine.
    let mut speeds: Vec<f64> = (0..101).map(|_| speed()).collect();
    speeds.sort_by(f64::total_cmp);
    Some(speeds[50])
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn operations_per_second(_: Isa, _: Compute, _: Format) -> Option<f64> {
    None
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Independent chains: more than latency times throughput, fewer than registers.
    pub(super) const CHAINS: usize = 12;

    /// Operations of one product of tiles of bfloat16: 16 rows, 16 columns, 32 elements. Of bytes it has twice as many.
    pub(super) const TILES: f64 = 2.0 * (16 * 16 * 32) as f64;

    /// Defines products of tiles by an instruction, as many as [`CHAINS`] in a step.
    macro_rules! tiles {
        ($name:ident, $multiply:literal) => {
            pub(super) unsafe fn $name(steps: usize) {
                /// A palette, bytes of a row of eight registers of 16 rows, and those rows.
                #[repr(C, align(64))]
                struct Registers([u8; 16], [u16; 16], [u8; 16]);
                let mut registers = Registers([0; 16], [0; 16], [0; 16]);
                registers.0[0] = 1;
                registers.1[..8].fill(64);
                registers.2[..8].fill(16);
                // SAFETY: the caller promises the instructions; registers are set up, and no memory is written.
                unsafe {
                    std::arch::asm!(
                        "ldtilecfg [{registers}]",
                        "2:",
                        ".rept 3",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        ".endr",
                        "dec {steps}",
                        "jnz 2b",
                        "tilerelease",
                        registers = in(reg) &raw const registers,
                        steps = inout(reg) steps => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack, readonly),
                    );
                }
            }
        };
    }

    tiles!(amx_bf16, "tdpbf16ps");
    tiles!(amx_int8, "tdpbssd");

    macro_rules! chains {
        ($name:ident, $features:literal, $zero:ident, $operand:expr, $step:expr) => {
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(steps: usize) {
                let operand = $operand;
                let mut sums = [$zero(); CHAINS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        *sum = $step(*sum, operand);
                    }
                }
                black_box(sums);
            }
        };
    }

    chains!(avx2_f32, "avx2,fma", _mm256_setzero_ps, _mm256_set1_ps(black_box(1.0)), |sum, x| {
        _mm256_fmadd_ps(x, x, sum)
    });
    chains!(
        avx2_int8,
        "avx2",
        _mm256_setzero_si256,
        _mm256_set1_epi32(black_box(1)),
        // Of the sum itself, so that the product is another one each time.
        |sum, x| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(sum, x), x))
    );
    chains!(
        avx_vnni_int8,
        "avxvnni",
        _mm256_setzero_si256,
        _mm256_set1_epi32(black_box(1)),
        |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x)
    );
    chains!(
        avx512vl_int8,
        "avx512vnni,avx512vl",
        _mm256_setzero_si256,
        _mm256_set1_epi32(black_box(1)),
        |sum, x| _mm256_dpbusd_epi32(sum, x, x)
    );
    chains!(avx512_f32, "avx512f", _mm512_setzero_ps, _mm512_set1_ps(black_box(1.0)), |sum, x| {
        _mm512_fmadd_ps(x, x, sum)
    });
    chains!(
        avx512_bf16,
        "avx512f,avx512bf16",
        _mm512_setzero_ps,
        // SAFETY: both are 512 bits in which every pattern is valid.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(black_box(1))) },
        |sum, x| _mm512_dpbf16_ps(sum, x, x)
    );
    chains!(
        avx512_int8,
        "avx512f,avx512vnni",
        _mm512_setzero_si512,
        _mm512_set1_epi32(black_box(1)),
        |sum, x| _mm512_dpbusd_epi32(sum, x, x)
    );
}
