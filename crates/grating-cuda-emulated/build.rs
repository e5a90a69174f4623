//! Compiles the kernels as C++ where fibers are written for the machine: on Unix, x86-64 and AArch64.

use std::env;

const KERNELS: &str = "../grating-cuda/kernels";

fn main() {
    println!("cargo:rustc-check-cfg=cfg(emulated)");
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-changed={KERNELS}");
    let target = |name: &str| env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    let unix = target("TARGET_FAMILY").split(',').any(|family| family == "unix");
    if !unix || !["x86_64", "aarch64"].contains(&target("TARGET_ARCH").as_str()) {
        println!("cargo:warning=no emulated CUDA device on this machine: its tests are left out");
        return;
    }
    println!("cargo:rustc-cfg=emulated");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(3)
        .define("GRATING_EMULATED", None)
        .include("cpp")
        .include(KERNELS)
        .flag_if_supported("-Wno-unknown-pragmas")
        .flag_if_supported("-Wno-unused-function")
        .flag_if_supported("-ffp-contract=off")
        .file("cpp/emulation.cpp")
        .compile("grating_cuda_emulation");
}
