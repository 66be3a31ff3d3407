"""Messages about settings, in the words of the command line."""

import re

from promptad.cli.learning_options import LEARNING
from promptad.cli.machine_options import GPU
from promptad.cli.options import COMMANDS

# What messages name in backticks, as flags: options by their names, and settings by theirs or by their paths.
FLAGS = {
    option.name: option.flag for command in COMMANDS.values() for option in command.options if not option.is_positional
}
FLAGS |= {"gpu": GPU.flag}
FLAGS |= {
    ".".join(path): option.flag
    for option in LEARNING
    for path in (option.setting.split("."), option.setting.split(".")[1:], option.setting.split(".")[-1:])
    if path and path[-1] not in ("", "name")
}


def with_flags(message: str) -> str:
    """Return a message with a flag for each setting that it names in backticks.

    >>> with_flags("`n_pro` 0: must be at least 1"), with_flags("`weights.margin`, `epochs` and `backbone`")
    ('--n_pro 0: must be at least 1', '--weight-margin, --epochs and --backbone')
    """
    return re.sub(r"`([a-z_0-9.]+)`", lambda named: FLAGS.get(named[1], named[0]), message)
