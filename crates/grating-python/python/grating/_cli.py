"""The command ``grating``."""

import signal
import sys

from . import _native


def main() -> int:
    """Runs the command line; its exit code."""
    # The interpreter's own handler would only note ctrl-c and wait for native code to return.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.main(sys.argv)
