"""What ends a command without a traceback: a mistake of the user, and a signal."""

import signal


class UserError(Exception):
    """A mistake the user can mend.

    The message is one line: the file or key, what was found, what is expected, what to do next.
    """


class InvalidInput(ValueError):
    """What a function of this package refuses to work on: one line that says what was expected and what came.

    Whoever starts a training tells it without a traceback. Errors of other code, out of memory among them, keep theirs.
    """


class Stopped(BaseException):
    """The command was told to stop by a signal; nobody but the command itself catches it.

    Args:
        signum: the signal.
        state: what becomes of the work, for the message.
    """

    def __init__(self, signum: int, state: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{state}")
        self.exit_code = 128 + signum
