//! Ctrl-c, termination and hang-up: what is half-written goes first, then the process ends.

use std::time::Duration;

use grating::CancelToken;

use crate::exit::ExitCode;

/// As shells report a process that ctrl-c has ended.
const INTERRUPTED: u8 = 130;
/// Work that has not noticed by then does not write; or its disk hangs, and the next run tidies up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A token that is cancelled when the user or the system asks the process to end.
///
/// Call it when there is something to tidy up from then on; before, such a signal ends the process at once.
pub(crate) fn token() -> CancelToken {
    let cancel = CancelToken::new();
    let signalled = cancel.clone();
    // Without a handler the process ends at once, as it would have without the call.
    _ = ctrlc::set_handler(move || {
        signalled.cancel();
        std::thread::sleep(PATIENCE);
        std::process::exit(INTERRUPTED.into());
    });
    cancel
}

/// What the process ends with after a signal.
pub(crate) fn exit_code() -> ExitCode {
    ExitCode::from(INTERRUPTED)
}
