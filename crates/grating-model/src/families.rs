//! The model families: equations of one layer with the checkpoint's own names, no device, no I/O.

pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod linear;
