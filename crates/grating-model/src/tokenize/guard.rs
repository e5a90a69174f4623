//! Panics of the `tokenizers` crate become errors: a damaged file, or a text that it did not foresee, must end neither
//! the process nor a caller's thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use grating_io::shown;

use super::TokenizeError;

thread_local! {
    /// Whether this thread is within [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of `tokenizers`; what it panics with is [`TokenizeError::Panicked`], and nothing is printed.
///
/// The process's panic hook is wrapped once, so that it stays silent about panics that are caught here, and only about
/// those.
pub(super) fn guarded<T>(
    code: impl FnOnce() -> Result<T, TokenizeError>,
) -> Result<T, TokenizeError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if !GUARDED.get() {
                others(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    // What the code has left half-done is dropped with the error: encoders are read-only once they are made.
    let outcome = catch_unwind(AssertUnwindSafe(code));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let reason = text.unwrap_or_else(|| "without a message".into());
        Err(TokenizeError::Panicked { reason: shown(&reason) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let caught: Result<(), _> = guarded(|| panic!("index {} is out of bounds", 7));
        let reason = "index 7 is out of bounds".to_owned();
        assert_eq!(caught, Err(TokenizeError::Panicked { reason: shown(&reason) }));
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        assert!(!GUARDED.get());
    }
}
