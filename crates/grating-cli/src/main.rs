//! grating
fn main() {}
