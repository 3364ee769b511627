"""Run the command `pycam` with `python -m pycam`."""

import sys

from pycam.cli import main

if __name__ == "__main__":
    sys.exit(main())
