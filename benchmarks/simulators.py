"""Simulators of the field in the loop: what must hold, and what was measured.

    python benchmarks/simulators.py                          all parts
    python benchmarks/simulators.py --only reference faults  some; the others stay as they are
    python benchmarks/simulators.py --quick                  small versions, written nowhere

Each part is a module of `simulators_parts` with `run(quick)`, which measures, and `rows(result)`,
which compares. Geant4 runs on substitute data that are made for the run, unless `GEANT4_DATA_DIR`
says otherwise.
"""

import sys

from tables import Benchmark

SIMULATORS = Benchmark(
    name="simulators",
    documentation=__doc__,
    parts={
        "reference": "geant4_reference",
        "muons": "geant4_muons",
        "overhead": "geant4_overhead",
        "faults": "geant4_faults",
        "pythia": "pythia_rate",
        "fast_showers": "fast_showers",
        "calorimeter": "calorimeter",
        "materials": "calorimeter_materials",
        "real_materials": "calorimeter_real_materials",
    },
    introduction="""# Simulators of the field in the loop: what must hold, and what was measured

`python benchmarks/simulators.py` makes this file, part by part. The machine has two cores, which
were shared with other work: times by the clock are upper bounds. A row that says "no" is a
shortfall.

Geant4: 11.4.0 libraries, substitute data (formula + xraylib), electromagnetic option1; not official
Geant4 data. The reference numbers were measured on another substitute set of the same recipe, those
of the crystal without the photonuclear reactions that calzone always adds: one shower of 1 GeV in
some hundred loses much energy in one, which the rms shows and the central 95 % does not.

geant4-pybind 0.1.3 with the electromagnetic list alone, on these data and in this crystal, gave
993.4 +- 0.2 MeV and 0.52 % (1 GeV electrons), 9927 +- 3 MeV and 0.24 % (10 GeV electrons),
249.3 +- 0.7 MeV (1 GeV muons) and 311 +- 4 MeV (10 GeV muons).
""",
)

if __name__ == "__main__":
    sys.exit(SIMULATORS.main())
