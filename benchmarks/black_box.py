"""Black-box methods: what must hold, and what was measured; prints a table, writes JSON.

    python benchmarks/black_box.py                        all parts
    python benchmarks/black_box.py --only suite branching  some; the others stay as they are
    python benchmarks/black_box.py --quick                small versions, written nowhere

Each part is a module of `black_box_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares. Times are CPU times of one thread.
"""

import sys

from tables import Benchmark

BLACK_BOX = Benchmark(
    name="black_box",
    documentation=__doc__,
    parts={
        "suite": "shirobokov",
        "branching": "branching",
        "placement": "placement",
        "materials": "materials",
        "tracker": "tracker",
        "lgso": "lgso",
    },
    introduction="""# Black-box methods: what must hold, and what was measured

`python benchmarks/black_box.py` makes this file, part by part. Times are CPU times of one thread;
the cores were shared with other work. The detectors are models of this package: where a published
number from Geant4 stands beside them, it is not like for like. A row that says "no" is a shortfall.
""",
)

if __name__ == "__main__":
    sys.exit(BLACK_BOX.main())
