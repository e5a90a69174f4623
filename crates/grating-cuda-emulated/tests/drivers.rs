//! Drivers that are there and cannot be used: a library in the driver's place, which answers as a test wants.
#![cfg(all(emulated, target_os = "linux"))]
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::path::Path;
use std::process::Command;

use grating_cuda::{CudaBackend, CudaOptions, Nvidia, device_count};

/// Before what a child process says.
const SAYS: &str = "what comes of it: ";

/// A process of its own: a library is opened once. Does nothing by itself.
#[test]
#[ignore = "the others run it"]
fn child() {
    let opened = device_count().and_then(|_| {
        let device = Nvidia::open(1)?;
        CudaBackend::new(device, CudaOptions::default()).map(drop)
    });
    println!("{SAYS}{}", opened.err().map_or("nothing".into(), |error| error.to_string()));
}

/// What [`child`] says where the driver's library has these functions; none where there is no compiler.
fn with_driver(functions: &str) -> Option<String> {
    let folder = std::env::temp_dir().join(format!("grating-driver-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let said = compiled(&folder, functions).then(|| {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program);
        child.args(["child", "--exact", "--ignored", "--nocapture"]);
        child.env("LD_LIBRARY_PATH", &folder);
        let output = child.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = text.lines().find_map(|line| line.split_once(SAYS));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        said.unwrap_or_else(|| panic!("{text}{error}")).1.to_owned()
    });
    std::fs::remove_dir_all(&folder).unwrap();
    said
}

fn compiled(folder: &Path, functions: &str) -> bool {
    let source = folder.join("driver.c");
    std::fs::write(&source, functions).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(folder.join("libcuda.so")).arg(source);
    compile.status().is_ok_and(|status| status.success())
}

#[test]
fn a_driver_that_cannot_be_used_is_an_error_with_its_cause() {
    let count = "int cuInit(unsigned f) { return 0; } int cuDeviceGetCount(int* n) { *n = ";
    let says = "int cuGetErrorString(int e, const char** s) { *s = \"its own words\"; return 0; }";
    let device = "int cuDeviceGet(int* d, int n) { *d = n; return 0; }";
    let no_context = "int cuDevicePrimaryCtxRetain(void** c, int d) { return 2; }";
    let cases = [
        ("int nothing(void) { return 0; }".into(), "lacks a function"),
        // A stub that toolkits come with.
        (format!("int cuInit(unsigned f) {{ return 34; }} {says}"), "its own words"),
        // Of another version than the system's module.
        (format!("int cuInit(unsigned f) {{ return 803; }} {says}"), "looking for devices failed"),
        (format!("{count}0; return 0; }}"), "there is no CUDA device 1: this machine has 0"),
        (format!("{count}1; return 0; }}"), "there is no CUDA device 1: this machine has 1"),
        (format!("{count}2; return 0; }} {device}"), "lacks a function"),
        (
            format!("{count}2; return 0; }} {device} {no_context} {says}"),
            "opening the device failed",
        ),
    ];
    for (functions, cause) in cases {
        let Some(said) = with_driver(&functions) else {
            return println!("no C compiler: nothing is tried");
        };
        assert!(said.contains(cause), "{functions}: {said}");
    }
}
