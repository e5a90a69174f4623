"""``python -m grating`` is the command line."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.argv[0] = "grating"
    sys.exit(main())
