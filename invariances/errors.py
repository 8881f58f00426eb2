"""The one exception that the commands show to a user without a traceback."""


class UserError(Exception):
    """A mistake the user can mend.

    The message is one line: the file or key, what was found, what is wanted, what to do next.
    """
