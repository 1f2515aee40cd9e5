"""Makes the pictures of the README from a run: `python docs/images/make_images.py RUN`."""

import sys
from pathlib import Path

from detopt.reports import curves, scene_figure
from detopt.reports.record import load_record

HERE = Path(__file__).parent
DPI = 80


def main(run: Path) -> None:
    """Write `ladle_curves.png` and `ladle_scene.png` beside this file."""
    record = load_record(run)
    figures = {
        "ladle_curves": curves(record.history, record.problem),
        "ladle_scene": scene_figure(
            {name: record.problem.scene(design) for name, design in record.designs.items()}
        ),
    }
    for name, figure in figures.items():
        figure.savefig(HERE / f"{name}.png", dpi=DPI, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
