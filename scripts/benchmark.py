"""Time the flows beside other libraries, the plain version, and the floor that the machine sets.

    python scripts/benchmark.py [--only iin25 inverse] [--threads 2] [--seconds 25]

Prints a table in Markdown. Works take turns; a ratio is the median over the rounds, with its quartiles. The other
libraries are those of the extra `bench`; one that is not installed is named. All use fused Adam, `plain` also the
default one.
"""

import argparse
import platform
from collections.abc import Callable, Iterator
from datetime import date

import torch
from benchmarks.plain import PlainFlow
from benchmarks.rivals import rivals
from benchmarks.timing import Work, copy_speed, floor, ratio, sgemm_speed, take_turns
from torch import Tensor, nn

from invariances.flows import ConditionalTransformer, VectorTransformer
from invariances.flows.released import CONDITIONAL, as_released
from invariances.losses import flow_nll

OURS = "ours"
Works = tuple[dict[str, Work], float | None]  # and the floor in milliseconds, if there is one


def step(model: nn.Module, *batch: Tensor, fused: bool = True) -> Work:
    """A training step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.5, 0.9), fused=fused)

    def run() -> None:
        optimizer.zero_grad()
        flow_nll(*model(*batch)).backward()
        optimizer.step()

    return run


def inverse(model: nn.Module, z: Tensor) -> Work:
    def run() -> None:
        with torch.no_grad():
            model.inverse(z)

    return run


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


def iin(size: int, speed: float) -> Works:
    ours, x = VectorTransformer(64, 12, 2, 512), torch.randn(size, 64)
    plain, nothing = plain_of(ours, PlainFlow(64, 512, 2, 12), x[:, :, None, None]), torch.empty(size, 1)
    works = {OURS: step(ours, x), **{name: step(rival, x) for name, rival in rivals(64, 512, 2, 12)[0].items()}}
    works["plain"] = step(plain, x, nothing, fused=False)
    works["plain, fused"] = step(plain, x, nothing)
    return works, floor(ours, size, speed)


def iin_inverse(speed: float) -> Works:
    ours, z = VectorTransformer(64, 12, 2, 512), torch.randn(25, 64)
    flows = {OURS: ours, **rivals(64, 512, 2, 12)[0]}
    for flow in flows.values():
        flow(z)  # sets the ActNorms
    return {name: inverse(flow, z) for name, flow in flows.items()}, floor(ours, 25, speed, trains=False)


def fc6() -> tuple[ConditionalTransformer, Tensor, Tensor]:
    cinn = ConditionalTransformer(
        in_channels=128,
        mid_channels=1024,
        hidden_depth=2,
        n_flows=20,
        conditioning_in_channels=4096,
        conditioning_spatial_size=1,
    )
    return cinn, torch.randn(16, 128, 1, 1), torch.randn(16, 4096, 1, 1)


def cinn_step(speed: float) -> Works:
    ours, *batch = fc6()
    plain = plain_of(ours, PlainFlow(128, 1024, 2, 20, 4096), *batch)
    works = {
        OURS: step(ours, *batch),
        "plain": step(plain, *batch, fused=False),
        "plain, fused": step(plain, *batch),
    }
    return works, floor(ours, 16, speed)


@torch.no_grad()
def samples(speed: float) -> Works:
    ours, code, z = fc6()
    ours(code, z)  # sets the ActNorms
    each = z[:1]
    return {OURS: lambda: ours.sample(each, 8), "one by one": lambda: [ours.sample(each, 1) for _ in range(8)]}, None


WORKS: dict[str, tuple[str, Callable[[float], Works]]] = {
    "iin25": ("IIN step, 26.8 M weights, batch 25", lambda speed: iin(25, speed)),
    "iin256": ("the same, batch 256", lambda speed: iin(256, speed)),
    "inverse": ("its inverse, batch 25", iin_inverse),
    "fc6": ("cINN step, fc6, 204.6 M weights, batch 16", cinn_step),
    "samples": ("8 samples of one representation", samples),
}


def rows(title: str, works: dict[str, Work], least: float | None, seconds: float) -> Iterator[str]:
    """A row for ours, and one for each other version."""
    times = take_turns(works, seconds)
    for name, values in times.items():
        middle, low, high = ratio(values, times[OURS])
        share = f"{least:.1f}" if least is not None and name == OURS else ""
        yield f"| {title} | {name} | {min(values):.1f} | {middle:.2f} ({low:.2f}–{high:.2f}) | {share} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS), help="works (default: all)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=25, help="for each work")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    speed = copy_speed()
    print(
        f"{date.today()}, {platform.machine()}, {options.threads} thread(s), torch {torch.__version__}: "
        f"sgemm {sgemm_speed() / 1e9:.0f} GFLOP/s, copy {speed / 1e9:.0f} GB/s"
    )
    if missing := rivals(4, 4, 1, 1)[1]:
        print(f"not installed, see the extra bench: {', '.join(missing)}")
    print("\n| work | version | ms, fastest | time / ours (quartiles) | floor, ms |\n|---|---|---|---|---|")
    for name in options.only:
        title, build = WORKS[name]
        for row in rows(title, *build(speed), options.seconds):
            print(row, flush=True)


if __name__ == "__main__":
    main()
