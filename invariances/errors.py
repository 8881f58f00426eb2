"""Errors that end a command with one line in place of a traceback."""

import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # that end a command; schedulers send the last


class UserError(Exception):
    """A mistake that the user can correct.

    The message is one line: the file or key, the value found, the value expected, and what to do next.
    """


class InvalidInput(ValueError):
    """An input that a function of this package refuses: a shape, dtype, range or class that it cannot work with.

    The message is one line: expected and found. Commands print it without a traceback; errors raised by other code,
    such as out of memory, keep theirs.
    """


class Stopped(BaseException):
    """A signal that ends the command. Not an Exception, so that no handler of errors catches it.

    Args:
        signum: number of the signal.
        state: end of the message, such as whether the training was saved.
    """

    def __init__(self, signum: int, state: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{state}")
        self.signum, self.state, self.exit_code = signum, state, 128 + signum
