"""A template for a network of your own: any torch.nn.Module from images to one number per class."""

from torch import Tensor, nn


class Net(nn.Module):
    """Three convolutions, the third with a skip connection, and a linear layer.

    Args:
        width: channels of the first convolution.
        n_classes: numbers at the output.

    >>> import torch
    >>> Net(width=8)(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """

    def __init__(self, width: int = 32, n_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 5, stride=2, padding=2), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(width, 2 * width, 5, stride=2, padding=2), nn.ReLU())
        self.conv3 = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.ReLU())
        self.block = nn.MaxPool2d(2)  # its input is the sum of both branches: a layer where the network can be split
        self.classifier = nn.Linear(2 * width, n_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, n_classes)."""
        z = self.conv2(self.conv1(image))
        return self.classifier(self.block(z + self.conv3(z)).mean((2, 3)))
