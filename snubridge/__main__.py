"""``python -m snubridge``: the command line."""

import sys

from snubridge.cli.main import main

sys.exit(main())
