"""`python -m pycam` is the command `pycam`."""

import sys

from pycam.cli import main

if __name__ == "__main__":
    sys.exit(main())
