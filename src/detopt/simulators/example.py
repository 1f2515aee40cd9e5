"""A program that a study can optimize: two wire planes measure the slope of tracks.

Run as `python example.py DESIGN RESULT`. It needs nothing but the standard library, so that it can
be copied as a start, also into another language.
"""

import json
import math
import random
import sys

SCATTERING = 0.4  # mrad, in the air of a gap of 1 m
CHANNEL_PRICE = 0.1  # of one wire per mm, in mrad^2


def slope_error(gap: float, pitch: float, rng: random.Random) -> float:
    """Error of the measured slope of one track [mrad], for wires a `pitch` apart."""
    readings = [pitch * (rng.random() - 0.5) for _ in range(2)]
    return (readings[1] - readings[0]) / gap * 1e3 + SCATTERING * math.sqrt(gap) * rng.gauss(0, 1)


def main() -> None:
    """Read the design, simulate, write the result."""
    design_file, result_file = sys.argv[1:3]
    with open(design_file, encoding="utf-8") as file:  # noqa: PTH123 (plain for other languages)
        call = json.load(file)
    rng = random.Random(call["seed"])
    gap, pitch = call["design"]["gap"], call["design"]["pitch"]
    errors = [slope_error(gap, pitch, rng) for _ in range(call["n_events"])]
    price = CHANNEL_PRICE * 1e-3 / pitch
    result = {
        "objective": [error**2 + price for error in errors],  # one value for each event
        "metrics": {"price": price},
    }
    with open(result_file, "w", encoding="utf-8") as file:  # noqa: PTH123 (idem)
        json.dump(result, file)


if __name__ == "__main__":
    main()
