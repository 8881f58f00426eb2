"""Settings of a process that trains or evaluates: of its memory allocator, and of its waiting threads."""

import ctypes
import os
import platform
import time
from pathlib import Path

from invariances.utils.files import n_cpus

THREADS = "OMP_NUM_THREADS"

# How threads wait for their siblings, see docs/performance.md: asleep where other processes need the processors, else
# for so many turns of a loop, about a tenth of a millisecond, before they sleep. Waking a thread takes as long as many
# of the operations of a flow. libgomp would wait for 300,000 turns.
ASLEEP = {"OMP_WAIT_POLICY": "passive"}
AWAKE = {"GOMP_SPINCOUNT": "3000"}
PROCESSES = Path("/proc/stat")  # of Linux: says how many threads run at the moment

# Numbers of glibc's malloc.h, and what they are set to. A block of MMAP_THRESHOLD bytes or more is a mapping of its
# own, which freeing returns to the system; 32 MiB is the most that glibc takes.
ALLOCATOR = {
    "M_MMAP_THRESHOLD": (-3, 2**25),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),  # free memory at the end of the heap that the process keeps
    "M_TOP_PAD": (-2, 2**26),  # by which the heap grows
}


def set_up_process() -> None:
    """Set how threads wait, and keep freed memory. To be called before torch is imported.

    What the user has set counts: OMP_WAIT_POLICY and GOMP_SPINCOUNT, and for the memory see `keep_freed_memory`.
    """
    if not (ASLEEP | AWAKE).keys() & os.environ.keys():
        os.environ.update(AWAKE if n_idle_cpus() >= n_threads() else ASLEEP)
    keep_freed_memory()


def n_threads(n_parallel: int = 1) -> int:
    """Threads of a process of which so many run at a time: OMP_NUM_THREADS, if it is set, or its share of the cores."""
    given = os.environ.get(THREADS, "")
    return int(given) if given.isdigit() and int(given) > 0 else max(1, n_cpus() // n_parallel)


def n_idle_cpus() -> int:
    """Number of the machine's processors on which no other process runs, or 0 where that is not known.

    The highest of a few counts within 20 ms, since a process that ends soon does not matter.
    """
    counts = []
    for _ in range(5):
        counts.append((os.cpu_count() or 1) - _n_running_beside())
        time.sleep(0.004)
    return max(0, *counts)


def _n_running_beside() -> int:
    """Number of threads that run or wait for a processor, this one aside."""
    try:
        lines = dict(line.split(maxsplit=1) for line in PROCESSES.read_text().splitlines() if " " in line)
        return int(lines["procs_running"]) - 1
    except (OSError, KeyError, ValueError):
        return os.cpu_count() or 1


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, where the allocator is glibc's.

    By default glibc returns each large block to the system and asks for it again in the next step of a training, and
    the system fills its pages with zeros each time: 26,000 pages in a step of an IIN. See docs/performance.md.

    Returns:
        whether it was set; not if a variable MALLOC_… or GLIBC_TUNABLES of the user configures the allocator.
    """
    theirs = any(name.startswith("MALLOC_") for name in os.environ) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if theirs or platform.libc_ver()[0] != "glibc":
        return False
    glibc = ctypes.CDLL(None)
    return all([glibc.mallopt(number, value) for number, value in ALLOCATOR.values()])
