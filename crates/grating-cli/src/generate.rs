//! `grating completions` and `grating man`: what packages install beside the binary, made of the options themselves.

use std::io::Write;

use anyhow::{Context, Result};

use crate::args::{CompletionsArgs, ManArgs};
use crate::exit::ExitCode;
use crate::output;

pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut bytes = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "grating", &mut bytes);
    write(&bytes)
}

/// One page, or all of them into a folder.
pub(crate) fn man(args: &ManArgs) -> Result<ExitCode> {
    let command = crate::command();
    let Some(folder) = &args.out else {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command).render(&mut bytes)?;
        return write(&bytes);
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)
        .with_context(|| format!("cannot write the pages into {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(bytes: &[u8]) -> Result<ExitCode> {
    let mut out = output::stdout();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
