//! grating
