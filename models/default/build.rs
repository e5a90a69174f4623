//! Whether the weights lie beside the crate: a checkout has them, a package does not.

fn main() {
    const WEIGHTS: &str = "model.safetensors";
    println!("cargo::rerun-if-changed={WEIGHTS}");
    println!("cargo::rustc-check-cfg=cfg(with_weights)");
    if std::path::Path::new(WEIGHTS).exists() {
        println!("cargo::rustc-cfg=with_weights");
    }
}
