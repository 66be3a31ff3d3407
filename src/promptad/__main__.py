"""`python -m promptad` is the command line."""

import sys

from promptad.command_line import main

sys.exit(main())
