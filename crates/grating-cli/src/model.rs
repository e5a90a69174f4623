//! From what the user typed to a model's place; hub ids are fetched here, where progress can be shown.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use grating::ModelSource;
use grating::hub::{self, DownloadPhase, HubOptions};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A folder wins over a hub id; nothing is the model that is built in.
pub(crate) fn resolve(
    model: Option<&OsStr>,
    revision: Option<&str>,
    offline: bool,
) -> Result<ModelSource> {
    let source = match model {
        None => ModelSource::Default,
        Some(text) => ModelSource::parse(text)?,
    };
    match source {
        ModelSource::Hub { id, .. } => Ok(ModelSource::Path(fetch(&id, revision, offline)?)),
        other => Ok(other),
    }
}

/// The folder of a hub id in the cache, where it is put if it is not there.
pub(crate) fn fetch(id: &str, revision: Option<&str>, offline: bool) -> Result<PathBuf> {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr_with_hz(5),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes} {eta}")
        .expect("the template is a constant that a test has drawn");
    let bar = ProgressBar::with_draw_target(Some(1), target).with_style(style);
    let mut from_cache = false;
    let options = HubOptions::from_env()?;
    let options = if offline { options.offline(true) } else { options };
    let folder = hub::fetch(id, revision, &options, |progress| {
        from_cache |= matches!(progress.phase, DownloadPhase::UsingCache);
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        bar.set_message(match progress.phase {
            DownloadPhase::Waiting => format!("{} (another process is downloading)", progress.file),
            _ => progress.file.to_string(),
        });
    });
    bar.finish_and_clear();
    if from_cache && folder.is_ok() {
        eprintln!("grating: the hub cannot be reached; using the copy of {id} in the cache");
    }
    Ok(folder?)
}
