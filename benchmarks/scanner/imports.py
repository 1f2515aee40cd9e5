"""Row `import_time`: what the import of the package adds to that of torch."""

import statistics
from typing import Any

from scanner.common import Setting, python

REPEATS = 9
AFTER = {"torch": "", "detopt": "import detopt", "Study": "from detopt import Study"}
CODE = """
import time
begin = time.perf_counter(), time.process_time()
import torch
{after}
print(time.perf_counter() - begin[0], time.process_time() - begin[1])
"""


def run(setting: Setting) -> dict[str, Any]:
    """Medians over fresh processes, alternating [s]."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in AFTER}
    for _ in range(2 if setting.quick else REPEATS):
        for name, after in AFTER.items():
            wall, cpu = python("-c", CODE.format(after=after)).stdout.split()
            times[name].append((float(wall), float(cpu)))
    wall = {name: statistics.median(w for w, _ in pairs) for name, pairs in times.items()}
    cpu = {name: statistics.median(c for _, c in pairs) for name, pairs in times.items()}
    return {
        "processes": len(times["torch"]),
        "wall_s": wall,
        "cpu_s": cpu,
        "added_wall_s": {name: wall[name] - wall["torch"] for name in ("detopt", "Study")},
        "added_cpu_s": {name: cpu[name] - cpu["torch"] for name in ("detopt", "Study")},
    }
