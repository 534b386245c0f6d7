"""The one exception that is meant for the person at the keyboard, and the exit code that it ends a program with."""

EXIT_USER_ERROR = 2
"""Exit code of a program that ended with UserError, the same as argparse uses."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the thing, what was expected, and what to do.

    The command line prints it as `mql: error: ...` and exits with EXIT_USER_ERROR, without a traceback.
    """
