"""Transmission of a slab of standard rock, computed by mulder; prints one JSON document.

    python mulder_transmission.py --depths 10 1000 --zeniths 0 70 --modes continuous mixed

Runs in the environment of `mulder-requirements.txt`. The slab is a shell of the Earth below sea
level, the reference flux is mulder's own at sea level. Energies are kinetic, in GeV; the fluxes are
integrals over the kinetic energy of a muon at the detector, from `THRESHOLD` up.
"""

import argparse
import json
import time

import mulder
import numpy as np

THRESHOLD = 0.1  # GeV
HIGHEST_BELOW = 1e5  # GeV, of muons behind the slab
HIGHEST = 1e6  # GeV, of muons in front of it
ROCK_DENSITY = 2650.0  # kg/m3
WATER_DENSITY = 1000.0  # kg/m3


def main() -> None:
    arguments = _arguments()
    meter = mulder.Fluxmeter(0.0, seed=1)
    layer = meter.geometry.layers[0]
    assert layer.material == "Rock"
    energy = np.geomspace(1e-2, HIGHEST, 641)
    result = {
        "version": arguments.version,
        "reference": meter.reference.model,
        "threshold": THRESHOLD,
        "energy": energy.tolist(),
        "zeniths": arguments.zeniths,
        "flux": [
            meter.reference.flux(elevation=90.0 - z, energy=energy, altitude=0.0).tolist()
            for z in arguments.zeniths
        ],
        "open_sky": [_open_sky(meter, z) for z in arguments.zeniths],
        "points": [],
    }
    for mode in arguments.modes:
        meter.mode = mode
        for depth in arguments.depths:
            for zenith in arguments.zeniths:
                begin = time.process_time()
                altitude = -depth * WATER_DENSITY / ROCK_DENSITY
                flux, error = _below(meter, altitude, zenith, arguments.events[mode])
                point = {"mode": mode, "depth": depth, "zenith": zenith}
                point |= {"flux": flux, "error": error, "cpu_s": time.process_time() - begin}
                result["points"].append(point)
    print(json.dumps(result))


def _below(meter: mulder.Fluxmeter, altitude: float, zenith: float, n: int) -> tuple[float, float]:
    """Integral flux behind the slab and its standard error, from stratified final energies."""
    width = np.log(HIGHEST_BELOW / THRESHOLD)
    jitter = 0.5 if meter.mode == "continuous" else np.random.default_rng(1).random(n)
    energy = THRESHOLD * np.exp(width * (np.arange(n) + jitter) / n)
    where = {"altitude": altitude, "elevation": 90.0 - zenith, "energy": energy}
    if meter.mode == "continuous":
        return float(width * np.mean(meter.flux(**where) * energy)), 0.0
    flux = meter.flux(**where, events=1)
    one = width * (flux[:, 0] if flux.ndim == 2 else flux) * energy
    pairs = one[: n - n % 2].reshape(-1, 2)  # neighbours differ by chance alone
    return float(one.mean()), float(np.sqrt((np.diff(pairs) ** 2).sum() / 2) / len(one) * 2**0.5)


def _open_sky(meter: mulder.Fluxmeter, zenith: float) -> float:
    width, n = np.log(HIGHEST / THRESHOLD), 20_000
    energy = THRESHOLD * np.exp(width * (np.arange(n) + 0.5) / n)
    flux = meter.reference.flux(elevation=90.0 - zenith, energy=energy, altitude=0.0)
    return float(width * np.mean(flux * energy))


def _arguments() -> argparse.Namespace:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(description="Transmission of standard rock, by mulder.")
    parser.add_argument("--depths", type=float, nargs="+", required=True, help="m water equivalent")
    parser.add_argument("--zeniths", type=float, nargs="+", required=True, help="degrees")
    parser.add_argument("--modes", nargs="+", default=["continuous"])
    parser.add_argument("--mixed-events", type=int, default=40_000)
    parser.add_argument("--discrete-events", type=int, default=20_000)
    arguments = parser.parse_args()
    arguments.version = version("mulder")
    arguments.events = {
        "continuous": 2_000,
        "mixed": arguments.mixed_events,
        "discrete": arguments.discrete_events,
    }
    return arguments


if __name__ == "__main__":
    main()
