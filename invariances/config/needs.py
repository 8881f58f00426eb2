"""Whether a training task and its model have the members that an evaluation needs."""

import inspect
from typing import get_args

from typing_extensions import get_protocol_members


def unmet(evaluation: type, iterator: type, model: type | None) -> str | None:
    """Members that an evaluation needs and the classes of a config lack.

    Nothing is instantiated: the members of a class are its methods, its class attributes and its annotations.

    Args:
        evaluation: may have protocols, or unions of them, as `needs` and `needs_model`.
        iterator: class of the task.
        model: class of its model, if it is known.

    Returns:
        a clause for a message; None if all needs are met.

    >>> from invariances.evaluation.base import HasViews
    >>> class Classifying:
    ...     pass
    >>> class Grid:
    ...     needs = HasViews
    >>> unmet(Grid, Classifying, None)
    'needs a task with device and views; Classifying has none'
    """
    pairs = {"task": ("needs", iterator), "model": ("needs_model", model)}
    for kind, (attribute, found) in pairs.items():
        needs = getattr(evaluation, attribute, None)
        if needs is None or found is None:
            continue
        lacking = [_lacking(option, found) for option in get_args(needs) or (needs,)]
        if all(lacking):
            return f"needs a {kind} with {' or '.join(map(' and '.join, lacking))}; {found.__name__} has none"
    return None


def _lacking(protocol: type, found: type) -> list[str]:
    """Members of a protocol that a class lacks."""
    declared = {name for base in found.__mro__ for name in inspect.get_annotations(base)}
    return sorted(name for name in get_protocol_members(protocol) if name not in declared and not hasattr(found, name))
