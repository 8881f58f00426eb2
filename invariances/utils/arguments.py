"""Checks of arguments that many constructors share."""

from invariances.errors import InvalidInput


def require_at_least(**limits: tuple[int, int]) -> None:
    """Refuse arguments that are too small.

    Args:
        limits: each argument's name, with its value and the least value allowed.

    Raises:
        InvalidInput: one of them is too small.

    >>> require_at_least(n_flow=(0, 1))
    Traceback (most recent call last):
    invariances.errors.InvalidInput: n_flow is 0; expected 1 or more
    """
    for name, (value, least) in limits.items():
        if value < least:
            raise InvalidInput(f"{name} is {value}; expected {least} or more")
