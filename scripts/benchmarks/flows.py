"""Works of the flows, each in several versions that do the same."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.plain import PlainFlow
from benchmarks.rivals import RIVALS, rivals
from benchmarks.timing import Work
from invariances.flows import ConditionalTransformer, FactorTransformer, VectorTransformer
from invariances.flows.released import CONDITIONAL, as_released
from invariances.losses import factor_nll, flow_nll
from invariances.models import Autoencoder, Classifier

OURS, LIBRARY = "ours", "ours, allocator as it is"
GRAPH = "ours, replayed as a CUDA graph"
ELSEWHERE = {LIBRARY, "plain", "plain, fused Adam", *RIVALS}  # versions that run without our settings of a process
Versions = dict[str, Callable[[], Work]]  # built when asked for, since a process runs only some of them


def step(model: nn.Module, *batch: Tensor, fused: bool = True) -> Work:
    """A training step."""
    return trained(model, lambda: flow_nll(*model(*batch)), fused)


def trained(model: nn.Module, loss: Callable[[], Tensor], fused: bool = True, capturable: bool = False) -> Work:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=fused, capturable=capturable)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def replayed(model: nn.Module, *batch: Tensor) -> Work:
    """A training step as one CUDA graph, so that none of its kernels is launched by itself."""
    run = trained(model, lambda: flow_nll(*model(*batch)), capturable=True)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):  # what is allocated or initialised once must be there before the step is recorded
            run()
    with torch.cuda.graph(graph):
        run()

    def replay() -> object:
        graph.replay()
        return run  # which keeps the weights: a graph reads their memory, and does not own it

    return replay


def on_gpu(versions: Versions) -> Versions:
    """The versions, if works run on a GPU."""
    return versions if torch.get_default_device().type == "cuda" else {}


def inverse(model: nn.Module, z: Tensor) -> Work:
    model(z)  # sets the ActNorms
    return torch.no_grad()(lambda: model.inverse(z))


def plain_of(ours: nn.Module, plain: PlainFlow, *batch: Tensor) -> PlainFlow:
    """The plain version with our weights.

    Raises:
        RuntimeError: its loss is another one.
    """
    ours(*batch)  # sets the ActNorms
    plain.load_state_dict(dict(as_released(ours.state_dict(), CONDITIONAL)))
    condition = batch[1] if len(batch) > 1 else torch.empty(len(batch[0]), 1)
    losses = [flow_nll(*plain(batch[0], condition)).item(), flow_nll(*ours(*batch)).item()]
    if abs(losses[0] - losses[1]) > 1e-3 * abs(losses[0]):
        raise RuntimeError(f"the two versions differ, {losses}")
    return plain


def iin() -> VectorTransformer:
    return VectorTransformer(64, 12, 2, 512)


def iin_step(size: int) -> Versions:
    x, nothing = torch.randn(size, 64), torch.empty(size, 1)

    def plain(fused: bool) -> Work:
        return step(plain_of(iin(), PlainFlow(64, 512, 2, 12), x[:, :, None, None]), x, nothing, fused=fused)

    others: Versions = {name: lambda flow=flow: step(flow, x) for name, flow in rivals(64, 512, 2, 12)[0].items()}
    others |= {"plain": lambda: plain(False), "plain, fused Adam": lambda: plain(True)}
    ours: Versions = {OURS: lambda: step(iin(), x), LIBRARY: lambda: step(iin(), x)}
    return {**ours, **on_gpu({GRAPH: lambda: replayed(iin(), x)}), **others}


def iin_inverse() -> Versions:
    z = torch.randn(25, 64)
    others: Versions = {name: lambda flow=flow: inverse(flow, z) for name, flow in rivals(64, 512, 2, 12)[0].items()}
    return {OURS: lambda: inverse(iin(), z), **others}


def diin_step() -> Versions:
    flow, pairs = FactorTransformer(64, 12, 2, 512, n_factors=3), torch.randn(50, 64)

    def loss() -> Tensor:
        factors, logdet = flow(pairs)
        first, second = zip(*(e.chunk(2) for e in factors), strict=True)
        return factor_nll(first, logdet[:25], second, logdet[25:], torch.zeros(25, dtype=torch.int64))

    return {OURS: lambda: trained(flow, loss)}


def fc6() -> tuple[ConditionalTransformer, Tensor, Tensor]:
    return ConditionalTransformer(128, 1024, 2, 20, 4096, 1), torch.randn(16, 128, 1, 1), torch.randn(16, 4096, 1, 1)


def conv5_step() -> Versions:
    batch = torch.randn(16, 128, 1, 1), torch.randn(16, 256, 13, 13)

    def ours() -> Work:
        return step(ConditionalTransformer(128, 1024, 2, 20, 256, 13, embedder_down=2), *batch)

    return {OURS: ours, LIBRARY: ours}


def fc6_step() -> Versions:
    def plain(fused: bool) -> Work:
        ours, *batch = fc6()
        return step(plain_of(ours, PlainFlow(128, 1024, 2, 20, 4096), *batch), *batch, fused=fused)

    ours: Versions = {name: lambda: step(*fc6()) for name in (OURS, LIBRARY)}
    ours |= on_gpu({GRAPH: lambda: replayed(*fc6())})
    return {**ours, "plain": lambda: plain(False), "plain, fused Adam": lambda: plain(True)}


def digits() -> tuple[ConditionalTransformer, Tensor, Tensor]:
    flow = ConditionalTransformer(32, 128, 2, 8, 32, 16, embedder_down=3)
    return flow, torch.randn(50, 32, 1, 1), torch.randn(50, 32, 16, 16)


def digits_step() -> Versions:
    def on(n_threads: int) -> Work:
        run = step(*digits())

        def with_threads() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(n_threads)
            run()
            torch.set_num_threads(before)

        return with_threads

    ours: Versions = {name: lambda: step(*digits()) for name in (OURS, LIBRARY)}
    return ours | {f"ours, {n} thread(s)": lambda n=n: on(n) for n in (1, 2)}


def samples() -> Versions:
    """8 samples of one representation, from the same weights in both versions."""

    def one_by_one(flow: ConditionalTransformer, z: Tensor) -> None:
        for _ in range(8):
            flow.sample(z, 1)

    def built(work: Callable[[ConditionalTransformer, Tensor], object]) -> Work:
        flow, code, z = fc6()
        flow(code, z)  # sets the ActNorms
        return torch.no_grad()(lambda: work(flow, z[:1]))

    return {OURS: lambda: built(lambda flow, z: flow.sample(z, 8)), "one by one": lambda: built(one_by_one)}


def autoencoder_step() -> Versions:
    model = Autoencoder(in_channels=3, in_size=64, n_down=4, z_dim=64, norm="an")
    x = torch.rand(25, 3, 64, 64) * 2 - 1

    def loss() -> Tensor:
        rebuilt, posterior = model(x)
        return (rebuilt - x).abs().mean() + posterior.kl().mean()

    return {name: lambda: trained(model, loss) for name in (OURS, LIBRARY)}


def classifier_step() -> Versions:
    model = Classifier(in_channels=3, in_size=32, n_down=4, z_dim=64, norm="an", n_classes=10)
    x, label = torch.rand(25, 3, 32, 32) * 2 - 1, torch.arange(25) % 10
    return {OURS: lambda: trained(model, lambda: nn.functional.cross_entropy(model(x), label))}


WORKS: dict[str, tuple[str, Callable[[], Versions]]] = {
    "iin25": ("IIN step, 26.8 M weights, batch 25", lambda: iin_step(25)),
    "iin256": ("the same, batch 256", lambda: iin_step(256)),
    "inverse": ("its inverse, batch 25", iin_inverse),
    "diin": ("dIIN step, 25 pairs", diin_step),
    "fc6": ("cINN step, fc6, 204.6 M weights, batch 16", fc6_step),
    "conv5": ("cINN step, conv5, batch 16", conv5_step),
    "digits": ("cINN step of the digits, conv1, batch 50", digits_step),
    "samples": ("8 samples of one representation, fc6", samples),
    "autoencoder": ("autoencoder step, 64 px, batch 25, without discriminator and LPIPS", autoencoder_step),
    "classifier": ("classifier step, 32 px, batch 25", classifier_step),
}
FLOORS: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {  # the network, the batch, and whether it is trained
    "iin25": (iin, 25, True),
    "iin256": (iin, 256, True),
    "inverse": (iin, 25, False),
    "fc6": (lambda: fc6()[0], 16, True),
}
