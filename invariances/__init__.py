"""See and measure what a trained network keeps of its input and what it has learned to ignore.

study = invariances.study(model, images)        a study of one's own network; see `invariances.studies.facade`
"""

from typing import Any

__all__ = ["study"]


def study(model: Any, images: Any, layers: Any = None, **settings: Any) -> Any:
    """Study a network on images, see `invariances.studies.facade.study`."""
    from invariances.studies.facade import study as run  # imports torch, which commands do without at first

    return run(model, images, layers, **settings)
