import pytest
import torch

from invariances.models import Classifier, DigitClassifier


def images(n=2, size=32):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("norm", ["an", "bn", "none"])
@pytest.mark.parametrize("n", [1, 3])
def test_logits_are_linear_in_the_representation(norm, n):
    classifier = Classifier(3, 16, n_down=2, z_dim=6, n_classes=10, norm=norm, width=4)
    classifier(images(8, 16))  # ActNorm starts from a training batch
    classifier.eval()
    z = classifier.encode(images(n, 16))
    assert z.shape == (n, 6, 1, 1)
    expected = z[:, :, 0, 0] @ classifier.classifier.weight.T + classifier.classifier.bias
    torch.testing.assert_close(classifier(images(n, 16)), expected)


def test_layers_of_the_digit_classifier_have_their_published_shapes():
    classifier = DigitClassifier(width=8).eval()
    assert [name for name, _ in classifier.named_children()] == [
        "conv1", "conv2", "conv3", "penultimate", "logits",
    ]  # fmt: skip
    shapes = []
    for part in classifier.children():
        part.register_forward_hook(lambda _module, _args, output: shapes.append(tuple(output.shape)))
    classifier(images(3))
    assert shapes == [(3, 8, 16, 16), (3, 16, 8, 8), (3, 32, 4, 4), (3, 64), (3, 10)]


def test_digit_classifier_takes_a_batch_of_one_and_other_channels():
    assert DigitClassifier(in_channels=1, n_classes=4).eval()(images(1)[:, :1]).shape == (1, 4)


@pytest.mark.parametrize("size", [28, 64])
def test_digit_classifier_refuses_other_sizes(size):
    with pytest.raises(ValueError, match=r"expected \(B, 3, 32, 32\)"):
        DigitClassifier()(images(size=size))


def test_digit_classifier_learns_four_images():
    torch.manual_seed(0)
    classifier, x, target = DigitClassifier(width=4), images(4), torch.arange(4)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(classifier(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize("name", ["in_channels", "n_classes", "width"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=f"^{name} is 0; expected 1 or more$"):
        DigitClassifier(**{name: 0})
    with pytest.raises(ValueError, match=f"^{name} is -1; expected 1 or more$"):
        Classifier(**{"in_channels": 3, "in_size": 32, "n_down": 4, "z_dim": 8, "n_classes": 2, name: -1})
