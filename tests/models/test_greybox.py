import copy
import gc
import threading

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from invariances.models import Classifier, DigitClassifier, Greybox, Preprocess
from invariances.models.pretrained import load_network
from invariances.utils.weights import fingerprint


def images(n=3, size=64, channels=3, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def random_statistics(module):
    """BatchNorm as after training, so that its place in the network matters."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.fixture(scope="module")
def alexnet():
    torch.manual_seed(0)
    return torchvision.models.alexnet().eval()


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return random_statistics(torchvision.models.resnet18())


def digits():
    torch.manual_seed(0)
    return random_statistics(DigitClassifier(width=4))


def classifier():
    torch.manual_seed(0)
    model = Classifier(3, 32, n_down=3, z_dim=8, n_classes=10, width=4)
    model(images(8, 32))  # ActNorm starts from a training batch
    return model.eval()


# --- a network and its parts ---

RESNET_LAYERS = ["input", "conv1", "bn1", "relu", "maxpool"]
RESNET_LAYERS += [f"layer{i}{part}" for i in range(1, 5) for part in (".0", ".1", "")]
RESNET_LAYERS += ["avgpool", "fc", "softmax"]
ALEXNET_LAYERS = ["input", *(f"features.{i}" for i in range(13)), "features", "avgpool"]
ALEXNET_LAYERS += [*(f"classifier.{i}" for i in range(7)), "classifier", "softmax"]


def names(model, **size):
    return [layer.name for layer in Greybox.layers(model, **size)]


def test_every_layer_that_can_be_cut_is_listed(alexnet, resnet):
    assert names(alexnet, in_size=64) == ALEXNET_LAYERS
    assert names(resnet, in_size=64) == RESNET_LAYERS


@pytest.mark.parametrize("layer", ALEXNET_LAYERS)
def test_alexnet_is_its_first_part_and_its_second(alexnet, layer):
    check_parts(alexnet, layer, 64)


@pytest.mark.parametrize("layer", RESNET_LAYERS)
def test_resnet_is_its_first_part_and_its_second(resnet, layer):
    check_parts(resnet, layer, 64)


@pytest.mark.parametrize("make", [digits, classifier])
def test_our_classifiers_are_their_first_part_and_their_second(make):
    model = make()
    for layer in names(model):
        check_parts(model, layer, 32)


def test_timm_networks_are_their_first_part_and_their_second():
    pytest.importorskip("timm")
    model = load_network("timm:test_resnet").network.eval()
    listed = names(model, in_size=32)
    assert {"layer1", "layer4", "global_pool", "fc"} < set(listed)
    for layer in listed:
        check_parts(model, layer, 32)


def check_parts(model, layer, size):
    box, x = Greybox(model, layer, in_size=size), images(size=size)
    whole = model(x).softmax(1) if layer == "softmax" else model(x)
    z = box.encode(x)
    assert z.shape == (3, *box.shape)
    torch.testing.assert_close(box.decode(z), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(box(x), whole, atol=0, rtol=0)
    assert box.exact(x) < 1e-5
    assert hooks(model) == 0


def test_shapes_and_types_are_listed():
    listed = {layer.name: (layer.type, layer.shape) for layer in Greybox.layers(digits())}
    assert listed["input"] == ("Identity", (3, 32, 32))
    assert listed["conv2"] == ("Sequential", (8, 8, 8))
    assert listed["penultimate.2"] == ("ReLU", (64, 1, 1))
    assert listed["softmax"] == ("Softmax", (10, 1, 1))


def test_layers_are_found_in_one_pass_that_leaves_the_network_as_it_was():
    model, calls = digits().train(), []
    model.conv2.eval()
    before = copy.deepcopy(model.state_dict())
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    Greybox.layers(model)
    handle.remove()
    assert len(calls) == 1 and hooks(model) == 0
    assert model.conv1.training and not model.conv2.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_depth_counts_the_layers_before(resnet):
    depths = [Greybox(resnet, layer, in_size=64).depth for layer in ("input", "maxpool", "fc", "softmax")]
    assert depths == [RESNET_LAYERS.index(layer) for layer in ("input", "maxpool", "fc", "softmax")]


# --- what is captured ---


@pytest.mark.parametrize("index", [0, 3, 6])
def test_convolutions_are_captured_before_the_relu_that_overwrites_them(alexnet, index):
    x = images()
    expected = x
    for part in alexnet.features[: index + 1]:
        expected = functional.relu(expected) if isinstance(part, nn.ReLU) else part(expected)
    z = Greybox(alexnet, f"features.{index}", in_size=64).encode(x)
    torch.testing.assert_close(z, expected)
    assert z.min() < 0


def test_linear_layers_are_captured_as_vectors_before_their_relu(alexnet):
    x = images()
    expected = alexnet.classifier[1](alexnet.avgpool(alexnet.features(x)).flatten(1))
    z = Greybox(alexnet, "classifier.1", in_size=64).encode(x)
    torch.testing.assert_close(z, expected[:, :, None, None])
    assert z.min() < 0


def test_resnet_layer1_is_computed_by_hand(resnet):
    x = images()
    expected = resnet.layer1(resnet.maxpool(functional.relu(resnet.bn1(resnet.conv1(x)))))
    torch.testing.assert_close(Greybox(resnet, "layer1", in_size=64).encode(x), expected)


def test_later_captures_do_not_change_earlier_results(resnet):
    conv, relu = Greybox(resnet, "conv1", in_size=64), Greybox(resnet, "relu", in_size=64)
    first = conv.encode(images())
    kept = first.clone()
    conv.encode(images(seed=1))
    relu.encode(images(seed=2))
    conv.decode(first)
    assert torch.equal(first, kept)


def test_representations_do_not_share_memory_with_the_images():
    x = images(size=32)
    z = Greybox(digits(), "input").encode(x)
    x.zero_()
    assert z.abs().max() > 0


def held():
    """Elements of all tensors that Python knows of."""
    return sum(o.numel() for o in gc.get_objects() if issubclass(type(o), torch.Tensor))


def test_two_hundred_captures_leave_nothing_behind():
    box, x = Greybox(digits(), "conv2"), images(8, 32)
    gc.collect()
    gc.disable()  # nothing may wait for the collector either
    try:
        before = held()
        for _ in range(200):
            box.decode(box.encode(x))
        assert held() == before
    finally:
        gc.enable()
    assert hooks(box) == 0


def test_hooks_are_removed_after_an_exception():
    box = Greybox(digits(), "conv3")
    for call in (lambda: box.encode(images(size=31)), lambda: box.encode(images(channels=1, size=32))):
        with pytest.raises(ValueError):
            call()
    box.network.network.logits = nn.Linear(3, 3)
    with pytest.raises(RuntimeError):
        box.decode(torch.zeros(2, *box.shape))
    assert hooks(box) == 0


def test_threads_that_share_a_network_do_not_see_each_other():
    model = digits()
    first, second, x = Greybox(model, "conv2"), Greybox(model, "penultimate"), images(2, 32)
    expected = {box.layer: box.encode(x) for box in (first, second)}
    wrong = []

    def work(box):
        for _ in range(50):
            z = box.encode(x)
            if not torch.equal(z, expected[box.layer]) or box.decode(z).shape != (2, 10):
                wrong.append(box.layer)

    threads = [threading.Thread(target=work, args=(box,)) for box in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and hooks(model) == 0


def test_the_forward_pass_ends_at_the_layer_and_starts_from_one_image():
    model, sizes = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)), {}
    box = Greybox(model, "1", in_size=8)
    for name, part in model.named_children():
        part.register_forward_hook(lambda _m, args, _o, name=name: sizes.update({name: len(args[0])}))
    z = box.encode(images(7, 8))
    assert sizes == {"0": 7, "1": 7}
    sizes.clear()
    box.decode(z)
    assert sizes == {"0": 1, "1": 1, "2": 7, "3": 7}


# --- units of the images ---


@pytest.mark.parametrize(("name", "size"), [("alexnet", 227), ("resnet18", 224)])
@pytest.mark.parametrize("given", [128, 227])
def test_grey_arrives_normalised_at_the_first_convolution(name, size, given, alexnet, resnet, monkeypatch):
    made = {"alexnet": alexnet, "resnet18": resnet}
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: made[name])
    box, arrived = Greybox(f"torchvision:{name}", "input"), []
    first = next(part for part in box.modules() if isinstance(part, nn.Conv2d))
    with first.register_forward_pre_hook(lambda _, args: arrived.append(args[0])):
        box(torch.zeros(1, 3, given, given))
        box(torch.ones(1, 3, given, given))
    grey, white = arrived
    assert grey.shape == (1, 3, size, size)
    torch.testing.assert_close(grey[0, :, 9, 9], torch.tensor((0.0655, 0.1964, 0.4178)), atol=5e-5, rtol=0)
    torch.testing.assert_close(white[0, :, 9, 9], torch.tensor((2.2489, 2.4286, 2.64)), atol=5e-5, rtol=0)


def test_bytes_are_refused():
    box = Greybox(digits(), "conv1")
    for call in (box.encode, box):
        with pytest.raises(TypeError):
            call((images(size=32) * 127).byte())


def test_preprocessing_may_be_given_and_is_part_of_the_first_half():
    model = digits()
    halved = Greybox(model, "conv1", preprocess=lambda x: x / 2)
    torch.testing.assert_close(halved.encode(images(size=32)), model.conv1(images(size=32) / 2))
    torch.testing.assert_close(halved(images(size=32)), model(images(size=32) / 2))
    resized = Greybox(model, "conv1", preprocess=Preprocess(32), in_size=50)
    torch.testing.assert_close(resized(images(size=50)), model(Preprocess(32)(images(size=50))))


def test_softmax_gives_probabilities():
    box = Greybox(digits(), "softmax")
    z = box.encode(images(size=32))
    torch.testing.assert_close(z.sum(1).flatten(), torch.ones(3))
    torch.testing.assert_close(box(images(size=32)), z[:, :, 0, 0])
    torch.testing.assert_close(box.decode(z), z[:, :, 0, 0])


def test_a_layer_of_the_networks_own_comes_before_ours():
    parts = {"flat": nn.Flatten(), "input": nn.Linear(12, 4), "softmax": nn.Softmax(dim=1)}
    model = nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    assert [(layer.name, layer.shape) for layer in Greybox.layers(model, in_size=2)] == [
        ("flat", (12, 1, 1)), ("input", (4, 1, 1)), ("softmax", (4, 1, 1)),
    ]  # fmt: skip
    box = Greybox(model, "softmax", in_size=2)
    torch.testing.assert_close(box(images(size=2)), model(images(size=2)))


# --- frozen, and gradients ---


def test_the_network_stays_frozen_when_its_owner_trains():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    )
    owner = nn.ModuleDict({"box": Greybox(model.train(), "1", in_size=8), "learned": nn.Linear(5, 1)}).train()
    before, x = copy.deepcopy(model.state_dict()), images(size=8)
    first, z = owner["box"](x), owner["box"].encode(x)
    trainable = [parameter for parameter in owner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable)
    for _ in range(20):
        optimizer.zero_grad()
        owner["learned"](owner["box"].decode(z)).sum().backward()
        optimizer.step()
    assert len(trainable) == 2 and owner["learned"].training
    assert not any(part.training for part in owner["box"].modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(owner["box"](x), first) and torch.equal(owner["box"].encode(x), z)


def test_gradients_flow_through_both_parts_as_through_the_whole(alexnet):
    x = images(2).requires_grad_()
    box = Greybox(alexnet, "features.6", in_size=64)
    (whole,) = torch.autograd.grad(box(x)[:, 3].sum(), x)
    (parts,) = torch.autograd.grad(box.decode(box.encode(x))[:, 3].sum(), x)
    torch.testing.assert_close(parts, whole)
    assert whole.abs().sum() > 0


def test_gradients_reach_representations_given_as_leaves(resnet):
    box = Greybox(resnet, "layer4", in_size=64)
    z = torch.zeros(2, *box.shape, requires_grad=True)
    box.decode(z)[:, 0].sum().backward()
    expected = resnet.fc.weight[0] / (box.shape[1] * box.shape[2])  # average pooling, then a linear layer
    torch.testing.assert_close(z.grad, expected[None, :, None, None].expand_as(z))


def test_without_gradients_nothing_is_recorded():
    box = Greybox(digits(), "conv2")
    with torch.no_grad():
        z = box.encode(images(size=32).requires_grad_())
    assert not z.requires_grad and not box.decode(z).requires_grad


def test_built_without_gradients_it_still_sees_skip_connections(resnet):
    with torch.no_grad(), pytest.raises(ValueError, match="is bypassed"):
        Greybox(resnet, "layer1.0.conv1", in_size=64)


def test_a_network_in_double_precision_stays_so():
    box = Greybox(digits().double(), "conv2")
    assert box.encode(images(size=32).double()).dtype == torch.float64


# --- layers that cannot be cut ---


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("layer4.2", "does not exist; nearest: .*layer4.1"),
        ("layer4_1", "does not exist; nearest: layer4.1"),
        ("Layer4", "does not exist; nearest: layer4"),
        ("", "does not exist"),
        ("layer1.0.conv1", "is bypassed: a skip connection"),
        ("layer1.0.bn2", "is bypassed"),
        ("layer2.0.downsample", "is bypassed"),
        ("layer3.1.relu", "is called 2 times"),
    ],
)
def test_layers_of_a_resnet_that_cannot_be_cut_are_explained(resnet, layer, reason):
    with pytest.raises(ValueError, match=f"layer '{layer}' {reason}.*list all with Greybox.layers") as error:
        Greybox(resnet, layer, in_size=64)
    assert "\n" not in str(error.value) and hooks(resnet) == 0


class Odd(nn.Module):
    """A network with every kind of layer that cannot be cut."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)])
        self.unused = nn.Linear(2, 2)
        self.pairs, self.tokens = nn.LSTM(16, 3, batch_first=True), nn.Flatten(2)
        self.head, self.aside = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        out, _ = self.pairs(self.tokens(x))
        self.aside(out.flatten(1))
        return self.head(out.flatten(1))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("parts", "is a ModuleList that is never called itself, only its parts: 0, 1"),
        ("unused", "is never called"),
        ("pairs", "returns a tuple; expected a tensor"),
        ("tokens", r"returns a tensor of shape \(2, 4, 16\); expected \(B, C\) or \(B, C, H, W\)"),
        ("aside", "is bypassed: a skip connection or another branch"),
    ],
)
def test_other_layers_that_cannot_be_cut_are_explained(layer, reason):
    with pytest.raises(ValueError, match=f"layer '{layer}' {reason}"):
        Greybox(Odd(), layer, in_size=8)
    assert names(Odd(), in_size=8) == ["input", "parts.0", "parts.1", "head", "softmax"]


class FaintSkip(nn.Module):
    """Its skip connection adds next to nothing: a comparison of numbers would not see it."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)

    def forward(self, x):
        return self.head(self.body(x).flatten(1)) + 1e-12 * x.mean()


def test_faint_skip_connections_are_seen():
    with pytest.raises(ValueError, match="is bypassed"):
        Greybox(FaintSkip(), "body", in_size=8)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return functional.dropout(self.body(x)).flatten(1)


def test_networks_that_draw_random_numbers_are_refused():
    with pytest.raises(ValueError, match=r"does not determine the output.*random numbers"):
        Greybox(Noisy(), "body", in_size=8)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.body(x).mean((2, 3)) + x.detach().mean((1, 2, 3))[:, None]


def test_skip_connections_outside_the_graph_are_seen():
    with pytest.raises(ValueError, match="does not determine the output"):
        Greybox(Detached(), "body", in_size=8)


class Counting(nn.Module):
    """Asks its input for the number of images, as many networks do."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)

    def forward(self, x):
        n = x.size(0)
        return self.head(self.body(x).view(n, -1))


def test_networks_that_count_their_images_are_cut_as_well():
    box = Greybox(Counting(), "body", in_size=8)
    assert box.exact(images(5, 8)) == 0


def test_a_network_that_gives_no_tensor_is_refused(resnet):
    with pytest.raises(ValueError, match="returns a OrderedDict with out; expected one tensor"):
        Greybox(
            torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None),
            "backbone",
            in_size=32,
        )


class OutOfMemory(nn.Module):
    """Runs out of memory in its n-th forward pass."""

    def __init__(self, error, n):
        super().__init__()
        self.error, self.left, self.body = error, n, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.body(x).mean((2, 3))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_out_of_memory_is_no_property_of_the_network(error, n):
    with pytest.raises(type(error)) as caught:
        Greybox(OutOfMemory(error, n), "body", in_size=8)
    assert caught.value is error


def test_images_that_the_network_does_not_take_are_named():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 224, 224\).*set in_size and in_channels"):
        Greybox(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "1")


def test_representations_of_another_shape_are_refused():
    box = Greybox(digits(), "penultimate")
    for shape in ((2, 65, 1, 1), (2, 64, 2, 2), (2, 64)):
        with pytest.raises((ValueError, TypeError)):
            box.decode(torch.zeros(shape))


def test_images_of_another_size_are_refused_where_they_change_the_representation(resnet):
    with pytest.raises(ValueError, match=r"\(64, 24, 24\); expected \(64, 16, 16\), use images of 64"):
        Greybox(resnet, "layer1", in_size=64).encode(images(size=96))


def test_it_stays_frozen_when_the_owner_trains_the_network_he_gave():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2))
    box, x = Greybox(network, "1", in_size=8), images(size=8)
    z, y = box.encode(x), box(x)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    assert torch.equal(box.encode(x), z)
    network.train()
    assert torch.equal(box(x), y)
    network.train()
    assert torch.equal(box.decode(z), y)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# --- bypasses that the graph does not show, or shows where there is none ---


class Hidden(nn.Module):
    """A small network, some of whose values leave the graph."""

    in_size = 8

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.body, self.other, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(144, 5)

    def forward(self, x):
        if self.kind == "no_grad":
            with torch.no_grad():
                return self.head(self.other(self.body(x)).flatten(1))
        if self.kind == "checkpoint":
            inner = checkpoint(lambda x: self.other(self.body(x)), x, use_reentrant=True)
            return self.head(inner.flatten(1))
        faint = 1e-6 * x.detach().mean((1, 2, 3))[:, None]
        return self.head(self.other(self.body(x)).flatten(1)) + faint


@pytest.mark.parametrize("kind", ["no_grad", "checkpoint"])
def test_C19_layers_hidden_from_the_graph_are_split_by_values(kind):
    torch.manual_seed(0)
    model = Hidden(kind).eval()
    assert names(model) == ["input", "body", "other", "head", "softmax"]
    assert all(Greybox(model, layer).exact(images(size=8)) == 0 for layer in names(model))


def test_C19_faint_bypasses_outside_the_graph_are_seen():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"does not determine the output.*other values reach the output too"):
        Greybox(Hidden("faint"), "body")
    assert names(Hidden("faint")) == ["input", "softmax"]


def test_a_bypassed_layer_may_be_used_as_a_representation_alone(resnet):
    box = Greybox(resnet, "layer1.0.conv1", in_size=64, exact=False)
    assert not box.splits and "is bypassed" in box.cautions[0]
    assert box.encode(images()).shape == (3, 64, 16, 16)
    with pytest.raises(ValueError, match="does not determine the output"):
        box.decode(torch.zeros(1, *box.shape))


# --- wrapped networks, and other precisions and shapes ---


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="aot_eager")])
def test_C29_wrapped_networks_are_used_without_their_wrapper(wrap):
    model, x = digits(), images(size=32)
    box = Greybox(wrap(model), "module.conv2")
    assert box.layer == "conv2"
    torch.testing.assert_close(box.encode(x), Greybox(model, "conv2").encode(x))
    assert box.exact(x) < 1e-5


def test_C29_compiled_parts_run_with_hooks():
    model = digits()
    model.conv2.compile(backend="aot_eager")
    box = Greybox(model, "conv2.0")
    assert box.exact(images(size=32)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_C29_networks_in_half_precision_take_and_give_single(dtype):
    model, x = digits().to(dtype), images(size=32)
    box = Greybox(model, "conv2")
    z = box.encode(x)
    assert z.dtype == box.decode(z).dtype == box(x).dtype == torch.float32
    assert torch.equal(z, z.to(dtype).float()) and box.exact(x) == 0


def test_C30_images_need_not_be_square():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 4, 5))
    box = Greybox(model, "1", in_size=[16, 8])
    assert box.shape == (4, 8, 4) and box.exact(torch.rand(2, 3, 16, 8)) < 1e-6


# --- names, weights and preprocessing ---


def test_layers_by_the_papers_names_and_numbers(alexnet):
    boxes = Greybox(alexnet, "fc6", in_size=64), Greybox(alexnet, split_idx=18, in_size=64)
    assert [box.layer for box in boxes] == ["classifier.2", "classifier.2"]


def test_weights_of_a_file_and_settings_of_preprocessing(tmp_path, caplog):
    source, x = digits(), images(size=50)
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "net.pt")
    spec = {"class": "invariances.models.DigitClassifier", "width": 4}
    settings = {"size": 32, "mean": [0.5], "std": [0.25]}
    box = Greybox(spec, "conv2", weights=tmp_path / "net.pt", preprocess=settings)
    assert box.cautions == [] and box.in_size == 32
    expected = Greybox(source, "conv2", preprocess=Preprocess(32, [0.5], [0.25]))
    torch.testing.assert_close(box.encode(x), expected.encode(x))
    box = Greybox(spec, "conv2")
    assert box.cautions == [
        "invariances.models.DigitClassifier has the weights of its constructor, random unless it loads some: "
        "none are given"
    ]
    assert box.cautions[0] in caplog.text


def test_partial_weights_are_warned_of(tmp_path, caplog):
    part = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    torch.save(part, tmp_path / "part.pth")
    box = Greybox("torchvision:squeezenet1_1", "features.0", weights=tmp_path / "part.pth", weights_partial=True)
    assert "part.pth holds 2 of 52 weights; 50 have their start values" in box.cautions[0]
    assert box.cautions[0] in caplog.text and not box.encode(images(1)).any()


def test_C12_the_fingerprint_tells_one_preprocessing_from_another():
    model = digits()
    given = [None, Preprocess(32), Preprocess(32, std=(0.2, 0.2, 0.2)), lambda x: x / 2, lambda x: x / 3]
    found = [fingerprint(Greybox(model, "conv1", preprocess=preprocess)) for preprocess in given]
    assert len(set(found)) == len(given)
    assert fingerprint(Greybox(model, "conv1", preprocess=lambda x: x / 2)) == found[3]
