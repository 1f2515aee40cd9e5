"""Inference: what must hold, and what was measured; prints a table, writes JSON and Markdown.

    python benchmarks/inference.py                        all parts, about half an hour
    python benchmarks/inference.py --only gamma profile   some; the others stay as they are
    python benchmarks/inference.py --quick                small versions, written nowhere
    python benchmarks/inference.py --only design --stored     compare what a part measured before

Each part is a module of `inference_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares. Times are CPU times of one thread.
"""

import sys

from tables import Benchmark

INFERENCE = Benchmark(
    name="inference",
    documentation=__doc__,
    parts={
        "inferno": "inferno",
        "profile": "profile_likelihood",
        "gradient": "detached",
        "gamma": "gamma",
        "design": "counting",
        "pairs": "tau_pairs",
    },
    introduction="""# Inference: what must hold, and what was measured

`python benchmarks/inference.py` makes this file. Times are CPU times of one thread; the cores were
shared with other work, which makes them longer than on a quiet machine. `profile`, `gradient` and
`gamma` were measured by that command. Runs of `inferno` (one to ten seeds a variant), `design` and
`pairs` (five seeds each, paired, at equal compute) take long: they were made by their modules in
`benchmarks/inference_parts` and are kept, seed by seed, in `inferno.json`,
`counting_experiment.json` and `tau_pairs.json`; the option `--stored` compares them here. A row
that says "no" is a shortfall.
""",
    can_compare_stored=True,
)

if __name__ == "__main__":
    sys.exit(INFERENCE.main())
