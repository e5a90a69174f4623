//! Whether AMX is there: in the processor, in what the system saves of a thread, and in what it lets this process use.

use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// AMX-BF16, AMX-TILE and AMX-INT8 in `edx` of leaf 7.
const INSTRUCTIONS: u32 = 1 << 22 | 1 << 24 | 1 << 25;

/// The configuration and the data of tiles among the states that the system saves.
const STATES: u64 = 1 << 17 | 1 << 18;

/// Asks the system once.
pub(super) fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| has_instructions() && are_saved() && is_allowed())
}

fn has_instructions() -> bool {
    // Safe from Rust 1.94 on.
    #[allow(unused_unsafe)]
    // SAFETY: every processor with AVX-512 has this leaf.
    let features = unsafe { __cpuid_count(7, 0) };
    features.edx & INSTRUCTIONS == INSTRUCTIONS
}

fn are_saved() -> bool {
    if !std::arch::is_x86_feature_detected!("xsave") {
        return false;
    }
    // SAFETY: the processor has XSAVE, and the system uses it, or there would be no AVX-512.
    unsafe { _xgetbv(0) & STATES == STATES }
}

/// Tiles are large, so Linux gives them only to a process that asks. Threads have what their process has.
#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of `arch_prctl`, and the number of the data of tiles among the states.
    const ASK: [u64; 2] = [0x1023, 18];
    const ARCH_PRCTL: u64 = 158;
    let mut result = ARCH_PRCTL;
    // SAFETY: this call reads and writes no memory of ours; a system that does not know it says so.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ASK[0],
            in("rsi") ASK[1],
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Nobody has run it on other systems.
#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}
