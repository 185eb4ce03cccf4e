"""`python -m daemon`: the same as `skulk`."""

import sys

from daemon.cli import main

sys.exit(main())
