"""The command line as ``python -m fastmotion``."""

import sys

from fastmotion.cli import main

if __name__ == "__main__":
    sys.exit(main())
