//! What a command ends with.

/// An exit code, as `std::process::ExitCode`, but one that can be handed to whoever carries the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    pub(crate) const SUCCESS: Self = ExitCode(0);
    pub(crate) const FAILURE: Self = ExitCode(1);
    pub(crate) const WRONG_USAGE: Self = ExitCode(2);

    pub(crate) fn code(self) -> u8 {
        self.0
    }
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        ExitCode(code)
    }
}
