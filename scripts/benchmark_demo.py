"""Time what visitors of the demo wait for: the first picture in a new process, and eight new samples.

    python scripts/benchmark_demo.py                the models that ship with the package
    python scripts/benchmark_demo.py --full         also AlexNet's fc6 at 128 px: a flow of 204.6 M weights and BigAE,
                                                    all of them random; writes 2 GB to a temporary folder

The page runs as in the server, without a browser: from the click to the last picture that is sent. Seconds are of the
clock; in brackets, those of the processors.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 9
PAGE = "representations"
FULL = ["configs/alexnet/base_train.yaml", "configs/alexnet/train/fc6.yaml"]


def page(*runs: str) -> Any:
    """The page on representations, in this process."""
    from streamlit.testing.v1 import AppTest

    import invariances

    sys.argv = ["page.py", *runs]
    return AppTest.from_file(str(Path(invariances.__file__).parent / "demo" / f"{PAGE}.py"), default_timeout=600)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of the processors."""
    clock, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processors


def opening() -> tuple[float, float]:
    """Seconds until the first picture, from the start of the interpreter: all imports, the models, the samples."""
    start = time.perf_counter()
    found = subprocess.run([sys.executable, __file__, "--first"], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, float(found.stdout.split()[-1])


def resampling(*runs: str) -> list[tuple[float, float]]:
    """Seconds of each click on the button for new samples."""
    app = page(*runs).run()
    assert not app.exception and not app.error and app.slider(key="samples").value == 8
    return [timed(lambda: app.button(key="resample").click().run()) for _ in range(ROUNDS)]


def full_run(folder: Path) -> str:
    """A run of AlexNet's fc6 with random weights, and photographs in place of its data set."""
    import torch

    from invariances.config.building import build_iterator
    from invariances.config.reading import dump, merged
    from invariances.flows.layers.actnorm import ActNorm
    from invariances.utils.shipped_configs import find_config

    without = {"GreyboxModel/weights": "null", "AutoencoderModel/checkpoint": "null"}
    config = merged([find_config(path) for path in FULL], without)
    task = build_iterator(config, num_steps=1)
    for layer in task.model.modules():
        if isinstance(layer, ActNorm):
            layer.initialized.fill_(True)
    print(f"{sum(each.numel() for each in task.model.parameters()) / 1e6:.1f} M parameters in the flow")
    (folder / "configs").mkdir(parents=True)
    (folder / "train" / "checkpoints").mkdir(parents=True)
    (folder / "configs" / "2026-01-01T00-00-00-train.yaml").write_text(dump(config))
    torch.save({"state_dict": task.state_dict(), "config": config}, folder / "train" / "checkpoints" / "model-1.ckpt")
    return str(folder)


def show(what: str, times: list[tuple[float, float]]) -> None:
    """Print median and range."""
    clock, processors = zip(*times, strict=True)
    text = f"{statistics.median(clock):.2f} s [{statistics.median(processors):.2f}]"
    print(f"{what}: {text}, {min(clock):.2f} to {max(clock):.2f} in {len(times)} rounds", flush=True)


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.first:
        page().run()
        print(time.process_time())
        return
    show("first picture in a new process", [opening() for _ in range(3)])
    show("8 new samples", resampling())
    if options.full:
        with tempfile.TemporaryDirectory() as folder:
            show("8 new samples, AlexNet fc6 at 128 px", resampling(full_run(Path(folder) / "run")))


if __name__ == "__main__":
    main()
