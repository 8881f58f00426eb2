"""Images with some factors changed, for a disentangling INN (CVPR 2020, section 4)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from invariances.errors import InvalidInput
from invariances.evaluation.base import HasFactors

Images = Float[Tensor, "_batch _channels _height _width"]


@torch.no_grad()
def blend(task: HasFactors, images: Images, donors: Images, weights: Mapping[str, float]) -> Images:
    """Images some of whose factors are moved towards those of donors.

        e_k ← (1 − w_k) e_k(image) + w_k e_k(donor)          0 keeps the image's factor, 1 takes the donor's

    Args:
        task: trained, such as `DIINIterator`.
        images, donors: as many, in [-1, 1].
        weights: name of a factor -> w_k; 0 for those that are not named. Outside of [0, 1] it extrapolates.

    Returns:
        decoded images, (B, C, H, W).

    Raises:
        InvalidInput: a name is none of the factors.

    Example:
        >>> class Task:
        ...     device, factor_names = torch.device("cpu"), ("red", "rest")
        ...     code = decode = staticmethod(lambda x: x)
        ...     to_factors = staticmethod(lambda code: [code[:, :1], code[:, 1:]])
        ...     to_code = staticmethod(lambda factors: torch.cat(factors, dim=1))
        >>> blend(Task(), torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), {"red": 0.5}).flatten()
        tensor([0.5000, 0.0000, 0.0000])
    """
    if unknown := [name for name in weights if name not in task.factor_names]:
        raise InvalidInput(f"no factor is called {unknown[0]}; expected one of {', '.join(task.factor_names)}")
    own, new = (task.to_factors(task.code(each)) for each in (images, donors))
    factors = [
        torch.lerp(e, donor, weights.get(name, 0.0))
        for name, e, donor in zip(task.factor_names, own, new, strict=True)
    ]
    return task.decode(task.to_code(factors))
