//! Microkernels in x86-64 intrinsics.

pub(super) mod amx;
pub(super) mod avx2;
pub(super) mod avx512;
pub(super) mod avx_vnni;
