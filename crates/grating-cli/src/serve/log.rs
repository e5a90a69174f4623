//! The server's log, on standard error.

use std::io::stderr;

use tracing_subscriber::filter::LevelFilter;

use super::args::{Log, LogLevel};

/// From now on.
pub(super) fn start(log: Log, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let format = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level);
    // Nothing else logs, so that nobody was first.
    _ = match log {
        Log::Plain => format.with_ansi(false).with_target(false).try_init(),
        Log::Json => format.json().flatten_event(true).with_target(false).try_init(),
        Log::Off => Ok(()),
    };
}
