"""Makes the picture of the page on scale from what is stored in `benchmarks/results`.

python docs/images/make_scale_images.py
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt

HERE = Path(__file__).parent
STORED = HERE.parent.parent / "benchmarks" / "results" / "scale.json"
DPI = 90
PARTS = {
    "useful": "useful",
    "starting": "starting",
    "lost": "lost work",
    "visiting": "visits",
    "idle": "idle",
}
LABELS = {"600.0": ("10 min", "C0"), "1800.0": ("30 min", "C1")}


def main() -> None:
    """Useful work against the length of a piece, and where the time of machines goes."""
    stored = json.loads(STORED.read_text())
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.6), width_ratios=(1, 1.1), layout="constrained"
    )
    for mean, by_piece in stored["pieces"].items():
        label, color = LABELS[mean]
        lengths = [float(piece) for piece in by_piece]
        for how, style in (("chosen", "o-"), ("single", ":")):
            shares = [100 * one[how]["useful"] for one in by_piece.values()]
            name = f"{label} between evictions" if how == "chosen" else None
            left.semilogx(lengths, shares, style, color=color, label=name)
    left.plot([], [], "k:", label="one piece a visit")
    left.axhline(90, color="C0", lw=0.8, ls="--")
    left.axhline(95, color="C1", lw=0.8, ls="--")
    left.set(xlabel="length of a piece of work [s]", ylabel="useful work [% of paid time]")
    left.set_ylim(60, 100)
    left.legend(frameon=False, fontsize="small")
    cases = stored["cases"]
    edge = [0.0] * len(cases)
    for part, label in PARTS.items():
        values = [100 * max(0.0, one[part]) for one in cases.values()]
        right.barh(list(cases), values, left=edge, label=label)
        edge = [a + b for a, b in zip(edge, values, strict=True)]
    right.set_xlim(0, 100)
    right.set_xlabel("time of machines [%]")
    right.invert_yaxis()
    right.legend(frameon=False, fontsize="small", ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(HERE / "scale.png", dpi=DPI)


if __name__ == "__main__":
    main()
