"""`python -m blip` is the command `blip`."""

import sys

from blip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
