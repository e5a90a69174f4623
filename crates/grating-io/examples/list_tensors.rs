//! Lists the tensors of any safetensors checkpoint without reading them.
//!
//! `cargo run -p grating-io --example list_tensors -- FOLDER_OR_FILE [PREFIX]`

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use grating_io::Checkpoint;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: list_tensors FOLDER_OR_FILE [PREFIX]");
        return ExitCode::from(2);
    };
    let prefix = arguments.next().unwrap_or_default();
    let checkpoint = match Checkpoint::open(path) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match list(&checkpoint, &prefix, BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as in `list_tensors model | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write the list: {error}");
            ExitCode::FAILURE
        }
    }
}

fn list(checkpoint: &Checkpoint, prefix: &str, mut out: impl Write) -> io::Result<()> {
    for (number, shard) in checkpoint.shards().iter().enumerate() {
        writeln!(out, "shard {number}: {}, {} bytes", shard.name(), shard.len())?;
    }
    let (mut count, mut bytes) = (0, 0);
    for tensor in checkpoint.tensors().filter(|t| t.name.starts_with(prefix)) {
        writeln!(
            out,
            "{:>5} {:>14} bytes at {:>12} of shard {}  {}  {:?}",
            tensor.dtype,
            tensor.byte_len(),
            tensor.range.start,
            tensor.shard,
            tensor.name.escape_debug(),
            tensor.shape,
        )?;
        count += 1;
        bytes += tensor.byte_len();
    }
    writeln!(out, "{count} tensors, {bytes} bytes")?;
    out.flush()
}
