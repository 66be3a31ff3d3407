"""`python -m promptad` is the command line."""

import sys

from promptad.cli.main import main

sys.exit(main())
