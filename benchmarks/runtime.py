"""Studies that lose nothing: what must hold, and what was measured; prints a table, writes JSON.

    python benchmarks/runtime.py                        all parts
    python benchmarks/runtime.py --only kills faults    some; the others stay as they are
    python benchmarks/runtime.py --quick                small versions, written nowhere

Each part is a module of `runtime_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares.
"""

import sys

from tables import Benchmark

RUNTIME = Benchmark(
    name="runtime",
    documentation=__doc__,
    parts={
        "kills": "kills",
        "faults": "faults",
        "workers": "workers",
        "costs": "costs",
        "throughput": "throughput",
        "scale": "scale",
        "budget": "budget",
        "slurm": "slurm",
    },
    introduction="""# Studies that lose nothing: what must hold, and what was measured

`python benchmarks/runtime.py` makes this file, part by part. The machine has two cores, which were
shared with other work: times by the clock are upper bounds, CPU times are not affected. A row that
says "no" is a shortfall.
""",
)

if __name__ == "__main__":
    sys.exit(RUNTIME.main())
