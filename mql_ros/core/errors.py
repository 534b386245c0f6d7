"""The exception whose message is for the user, and its exit code."""

EXIT_USER_ERROR = 2
"""Exit code of a program that ended with UserError, the same as argparse uses."""


class UserError(Exception):
    """An error that the user can correct. Its message is one sentence: the cause, what was expected, and the remedy.

    The command line prints it as `mql: error: ...` and exits with EXIT_USER_ERROR, without a traceback.
    """
