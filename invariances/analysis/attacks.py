"""Changes of images that change the class that a network predicts, and random changes of the same size."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from invariances.errors import InvalidInput
from invariances.evaluation.metrics.predicted_class import predicted_class
from invariances.utils.arguments import require_at_least

Images = Float[Tensor, "batch channels height width"]


def fgsm(network: nn.Module, images: Images, epsilon: float) -> Images:
    """Attack each image by one step along the sign of the gradient (Goodfellow et al. 2015).

        x + ε · sign ∂/∂x cross_entropy(f(x), argmax f(x)),  clipped to [-1, 1]

    The class is the predicted one, so no label is needed.

    Args:
        network: images -> logits (B, classes), in evaluation mode.
        images: in [-1, 1].
        epsilon: the largest change of a value, in the same units: 2/255 is one level of a byte.

    Returns:
        attacked images, in [-1, 1].

    Raises:
        InvalidInput: epsilon is negative or not finite; the network returns no logits.

    Example: the attack lowers the larger of two logits

        >>> network = nn.Flatten()
        >>> fgsm(network, torch.tensor([0.3, 0.2]).reshape(1, 2, 1, 1), 0.1).flatten()
        tensor([0.2000, 0.3000])
    """
    _require_size(epsilon)
    return (images + epsilon * _ascent(network, images, _classes(network, images)).sign()).clamp(-1, 1)


def pgd(network: nn.Module, images: Images, epsilon: float, n_steps: int = 10) -> Images:
    """Attack each image by several smaller steps, each projected to the cube of ±ε around it (Madry et al. 2018).

    A step has the size 2.5 ε / n_steps; the first starts at the image itself, so the result is repeatable.

    Args:
        network, images, epsilon: see `fgsm`.
        n_steps: number of steps, at least 1.

    Returns:
        attacked images, in [-1, 1].

    Raises:
        InvalidInput: as `fgsm`; fewer than 1 step.

    >>> attacked = pgd(nn.Flatten(), torch.tensor([0.3, 0.2]).reshape(1, 2, 1, 1), 0.1)
    >>> attacked.flatten()
    tensor([0.2000, 0.3000])
    """
    _require_size(epsilon)
    require_at_least(n_steps=(n_steps, 1))
    classes, attacked = _classes(network, images), images
    for _ in range(n_steps):
        step = 2.5 * epsilon / n_steps * _ascent(network, attacked, classes).sign()
        attacked = torch.clamp(attacked + step, images - epsilon, images + epsilon).clamp(-1, 1)
    return attacked


def random_signs(images: Images, epsilon: float, generator: torch.Generator) -> Images:
    """Images changed by ±ε at random at each value, clipped to [-1, 1]: the control for an attack of that size.

    Raises:
        InvalidInput: epsilon is negative or not finite.

    >>> noisy = random_signs(torch.zeros(1, 3, 8, 8), 0.1, torch.Generator().manual_seed(0))
    >>> noisy.abs().unique()
    tensor([0.1000])
    """
    _require_size(epsilon)
    signs = 2 * torch.randint(2, images.shape, generator=generator, device=images.device) - 1
    return (images + epsilon * signs).clamp(-1, 1)


def _require_size(epsilon: float) -> None:
    if not 0 <= epsilon < float("inf"):
        raise InvalidInput(f"epsilon is {epsilon}; expected 0 or more, where 2 is from black to white")


@torch.no_grad()
def _classes(network: nn.Module, images: Tensor) -> Tensor:
    return predicted_class(network(images))


def _ascent(network: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Gradient of the cross-entropy with respect to the images, (B, C, H, W)."""
    with torch.inference_mode(False), torch.enable_grad():
        x = images.clone().requires_grad_()
        loss = cross_entropy(network(x), classes.clone(), reduction="sum")
        return torch.autograd.grad(loss, x)[0]
