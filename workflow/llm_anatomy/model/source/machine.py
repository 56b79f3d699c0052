"""What this machine has, asked without importing torch."""

import os
from pathlib import Path


def machine_memory() -> float:
    """Bytes of this machine's memory, or of the control group that limits this process."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limits = (
        Path("/sys/fs/cgroup/memory.max"),
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    )
    for limit in limits:
        try:
            total = min(total, float(limit.read_text()))
        except (OSError, ValueError):
            # No such control group, or "max": the machine's memory is the limit.
            continue
    return total
