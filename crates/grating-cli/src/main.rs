//! The `grating` command; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(grating_cli::run(std::env::args_os()))
}
