"""The error of a user's mistake."""


class InputError(ValueError):
    """Something the user gave is wrong: the message names the value and the cure, in one line.

    The command line prints it without a traceback and ends with exit code 2. Our own mistakes are assertions.
    """
