"""Surrogates of a simulator: what must hold, and what was measured.

    python benchmarks/surrogates.py                   all parts
    python benchmarks/surrogates.py --only layers     some; the others stay as they are
    python benchmarks/surrogates.py --quick           small versions, written nowhere

Each part is a module of `surrogates_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares. The Geant4 showers, 20 CPU minutes of them, and the trained flow are made once and
kept in a scratch folder (`surrogates_parts/showers.py`).
"""

import sys

from tables import Benchmark

SURROGATES = Benchmark(
    name="surrogates",
    documentation=__doc__,
    parts={"layers": "layer_flow", "gradients": "design_gradients"},
    introduction="""# Surrogates of a simulator: what must hold, and what was measured

`python benchmarks/surrogates.py` makes this file, part by part. One thread of a machine that was
shared with other work: CPU times are upper bounds. A row that says "no" is a shortfall.

Electrons of 0.4 to 4 GeV in 25 x (lead + plastic), 0.5 m wide, by Geant4: 11.4.0 libraries,
substitute data (formula + xraylib), electromagnetic option1; not official Geant4 data. Lead of 2.5
to 7.5 mm and plastic of 3 to 12 mm, log-uniform, the same in all layers; 0.05 MeV are read out in a
layer. The flow has autoregressive splines, learns ln of the thicknesses and of the energy, and
draws the visible energy and how the 25 layers share it. All designs of the comparison are others
than those that it learned from.

A first flow, with uniform random numbers below the threshold, was told apart by its features (area
0.626 +- 0.004) on the same unseen showers: too many of its layers were hit. Random numbers far
below the threshold stand there since. On 4500 further showers of 90 fresh designs, made after that
change, the area of the features was 0.501 +- 0.007.

Of the gradients it is the mean over designs that is compared with what must hold; the worst design
and how many hold alone stand beside it. The differences are over +-0.4 in ln of a thickness, of the
visible energy without the threshold.

Targets of this project, on its own showers: no comparison with published generators.
""",
)

if __name__ == "__main__":
    sys.exit(SURROGATES.main())
