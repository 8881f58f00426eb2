"""A process that runs works of the benchmark when told to: `python -m benchmarks.worker WORK --clock cpu …`.

Ours runs with the settings of our trainings, see `set_up_process`, and the others as libraries are used; each on the
same number of threads. For a work of several versions, a line of the input names one to run once, and a line of the
output has its milliseconds; trainings run by themselves.
"""

import argparse
import json
import sys
from collections.abc import Callable

from invariances.utils.process_settings import set_up_process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work")
    parser.add_argument("--clock", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--ours", action="store_true")
    options = parser.parse_args()
    if options.ours:
        set_up_process()  # before torch is imported

    import torch

    from benchmarks.timing import CLOCKS

    torch.set_num_threads(options.threads)
    torch.set_default_device(options.device)
    torch.manual_seed(0)
    _answer(options.work, CLOCKS[options.clock])


def _answer(work: str, clock: Callable[[], float]) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # trainings print too
    from benchmarks.flows import FLOORS, WORKS
    from benchmarks.timing import floor, timed

    if work not in WORKS:
        from benchmarks.trainings import TRAININGS

        print(json.dumps(TRAININGS[work][1](clock)), file=answers, flush=True)
        return
    versions, built = WORKS[work][1](), {}
    print(json.dumps(list(versions)), file=answers, flush=True)
    for line in sys.stdin:
        name = line.strip()
        if name == "floor":
            model, batch, trains = FLOORS[work]
            milliseconds = floor(model(), batch, trains, clock)
        else:
            if name not in built:
                built[name] = versions[name]()
                built[name]()  # the first run also allocates
            built[name]()  # threads of the other process still wait awake, and those of this one sleep
            milliseconds = timed(built[name], clock)
        print(milliseconds, file=answers, flush=True)


if __name__ == "__main__":
    main()
