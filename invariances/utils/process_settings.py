"""Settings of a process that trains or evaluates: of its memory allocator, and of its waiting threads."""

import ctypes
import os
import platform

# Threads that wait give their processor to others: with two threads beside another process on two cores, a step of a
# small autoencoder took 854 ms, and 30 ms so.
PASSIVE = {"OMP_WAIT_POLICY": "passive"}

# Numbers of glibc's malloc.h, and what they are set to. A block of MMAP_THRESHOLD bytes or more is a mapping of its
# own, which freeing returns to the system; 32 MiB is the most that glibc takes.
ALLOCATOR = {
    "M_MMAP_THRESHOLD": (-3, 2**25),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),  # free memory at the end of the heap that the process keeps
    "M_TOP_PAD": (-2, 2**26),  # by which the heap grows
}


def set_up_process() -> None:
    """Let threads that wait sleep, and keep freed memory. To be called before torch is imported.

    What the user has set counts: OMP_WAIT_POLICY, and for the memory see `keep_freed_memory`.
    """
    os.environ.update(PASSIVE | os.environ)
    keep_freed_memory()


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
