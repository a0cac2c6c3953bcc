"""The launcher: `python launch.py --help`."""

import sys

from egojax.apps import cli

sys.exit(cli.main(sys.argv))
