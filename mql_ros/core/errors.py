"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: one sentence that names the thing, what was expected, and what to do.

    The command line prints it as `mql: error: ...` and exits with code 2, without a traceback.
    """
