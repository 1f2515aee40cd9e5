"""Time the kernels of `detopt.physics` beside the memory bandwidth; prints a table, writes JSON.

    python benchmarks/physics.py                         all kernels
    python benchmarks/physics.py --only highland_angle   some; the others stay as they are
    python benchmarks/physics.py --quick                 few elements, written nowhere

Time is CPU time of one thread in single precision, the median of repetitions. The limit of a
kernel is what it must read and write, in bytes, over the bandwidth of a copy between arrays that
do not fit into the cache. Forward: arguments and results. Backward: arguments and gradients of
the results are read, gradients of the arguments written. Random numbers that a sampler draws
itself count as written and read once more.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch is imported

import torch
from torch import Generator, Tensor

from detopt.physics import energy_loss as loss
from detopt.physics import (
    fields,
    fluxes,
    geometry,
    kinematics,
    light,
    materials,
    moliere,
    neutrons,
    photons,
    scattering,
    showers,
)

RESULTS = Path(__file__).resolve().parent / "results" / "physics.json"
BYTES = 4  # of a number in single precision
COPIED = 1 << 25  # numbers in the array that is copied: 128 MiB
BAR = 10.0  # times the limit


@dataclass(frozen=True)
class Kernel:
    """One function with arguments: spans of uniform numbers."""

    call: Callable[..., Any]
    spans: tuple[tuple[float, float], ...] = ()
    results: int = 1  # numbers an element
    draws: int = 0  # random numbers an element
    barred: bool = False
    width: int = 1  # numbers an element in each argument


def _of(function: Callable[..., Any], *names: str) -> Callable[..., Any]:
    return lambda *tensors: function(*names, *tensors)


ENERGY, PATH, MOMENTUM, BETA = (0.1, 1.0), (0.01, 0.1), (1.0, 5.0), (0.9, 0.99)
RNG = Generator().manual_seed(0)
SHOWER = showers.homogeneous(materials.get("PbWO4"))
SHAPE = showers.mean_shape(10.0, SHOWER)
FLUX = fluxes.MuonFlux(fluxes.guan_intensity)
ONE = torch.tensor(1.0), torch.tensor(3e-4)  # GeV and m of the one layer
NUCLEI = (PATH, (5.0, 11.0), (26.0, 82.0), (56.0, 207.0), MOMENTUM, BETA)
BOX = torch.zeros(3), torch.ones(3)  # centre and half edges [m]


def _deflection(path: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    kick = scattering.scatter(path, angle, RNG)
    return kick.offset, kick.angle


KERNELS: dict[str, Kernel] = {
    "highland_angle": Kernel(
        scattering.highland_angle, (PATH, (0.3, 0.4), MOMENTUM, BETA), barred=True
    ),
    "highland_variance": Kernel(
        scattering.highland_variance, (PATH, (0.3, 0.4), MOMENTUM, BETA), barred=True
    ),
    "scatter": Kernel(_deflection, (PATH, (0.001, 0.01)), results=4, draws=4, barred=True),
    "scattering_covariance": Kernel(
        scattering.scattering_covariance, (PATH, (0.001, 0.01)), results=4
    ),
    "collision_count": Kernel(moliere.collision_count, NUCLEI),
    "lynch_dahl_angle": Kernel(moliere.lynch_dahl_angle, NUCLEI),
    "moliere_deviate": Kernel(lambda z: moliere.moliere_deviate(z, 1e5), ((-3.0, 3.0),)),
    "stopping_power": Kernel(_of(loss.stopping_power, "proton", "water"), (ENERGY,), barred=True),
    "csda_range": Kernel(_of(loss.csda_range, "proton", "water"), (ENERGY,), barred=True),
    "energy_of_range": Kernel(_of(loss.energy_of_range, "proton", "water"), (ENERGY,)),
    "residual_energy": Kernel(
        _of(loss.residual_energy, "proton", "water"), (ENERGY, (0.001, 0.01)), barred=True
    ),
    "sample_loss": Kernel(
        lambda z: loss.sample_loss("muon", "Si", *ONE, z), ((-3.0, 3.0),), barred=True
    ),
    "sample_loss of many layers": Kernel(
        _of(loss.sample_loss, "muon", "Si"), (ENERGY, (1e-4, 1e-3), (-3.0, 3.0))
    ),
    "collision_stopping_power": Kernel(
        _of(loss.collision_stopping_power, "proton", "water"), (ENERGY,)
    ),
    "radiative_stopping_power": Kernel(
        _of(loss.radiative_stopping_power, "muon", "Fe"), ((10.0, 100.0),)
    ),
    "most_probable_loss": Kernel(_of(loss.most_probable_loss, "muon", "Si"), (ENERGY, PATH)),
    "vavilov_most_probable_loss": Kernel(
        _of(loss.vavilov_most_probable_loss, "muon", "Si"), (ENERGY, PATH)
    ),
    "landau_width": Kernel(_of(loss.landau_width, "muon", "Si"), (ENERGY, PATH)),
    "vavilov_kappa": Kernel(_of(loss.vavilov_kappa, "muon", "Si"), (ENERGY, PATH)),
    "straggling_width": Kernel(_of(loss.straggling_width, "muon", "Si"), (ENERGY, PATH)),
    "landau_quantile": Kernel(loss.landau_quantile, ((-3.0, 3.0),)),
    "bragg_kleeman_range": Kernel(loss.bragg_kleeman_range, (ENERGY,)),
    "MuonFlux.sample": Kernel(FLUX.sample, results=2, draws=2, barred=True),
    "MuonFlux.sample_zenith": Kernel(
        lambda energy: FLUX.sample_zenith(energy.detach(), RNG), (MOMENTUM,), draws=1
    ),
    "guan_intensity": Kernel(fluxes.guan_intensity, (MOMENTUM, (0.3, 1.0))),
    "shukla_sankrith_intensity": Kernel(fluxes.shukla_sankrith_intensity, (MOMENTUM, (0.3, 1.0))),
    "gaisser_intensity": Kernel(fluxes.gaisser_intensity, ((40.0, 1e3), (0.4, 1.0))),
    "mass_attenuation": Kernel(_of(photons.mass_attenuation, "Pb"), ((1e-3, 1.0),)),
    "transmission": Kernel(_of(photons.transmission, "Pb"), ((1e-3, 1.0), PATH)),
    "mean_shape": Kernel(lambda e: showers.mean_shape(e, SHOWER).alpha, ((1.0, 100.0),)),
    "longitudinal_profile": Kernel(
        lambda t: showers.longitudinal_profile(t, SHAPE), ((0.5, 20.0),)
    ),
    "contained_fraction": Kernel(lambda t: showers.contained_fraction(t, SHAPE), ((0.5, 20.0),)),
    "compton_energy": Kernel(kinematics.compton_energy, ((1e-3, 1e-2), (-1.0, 1.0))),
    "klein_nishina": Kernel(kinematics.klein_nishina, ((1e-3, 1e-2), (-1.0, 1.0))),
    "elastic_electron_energy": Kernel(
        kinematics.elastic_electron_energy, ((100.0, 150.0), (0.001, 0.02))
    ),
    "boost": Kernel(
        lambda v: kinematics.boost(v[..., :4], v[..., 4:]), ((0.01, 0.1),), results=4, width=7
    ),
    "bending_radius": Kernel(fields.bending_radius, (MOMENTUM, (0.5, 2.0))),
    "momentum_kick": Kernel(fields.momentum_kick, ((0.5, 2.0),)),
    "box_crossing": Kernel(
        lambda at, along: geometry.path_length(*geometry.box_crossing(at, along, *BOX)),
        ((-3.0, -2.0), (0.5, 1.0)),
        width=3,
    ),
    "cherenkov_angle": Kernel(light.cherenkov_angle, (BETA, (1.3, 1.5))),
    "attenuation": Kernel(light.attenuation, (PATH, (1.0, 2.0))),
    "neutron_energy": Kernel(neutrons.neutron_energy, ((1.0, 10.0),)),
}


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    torch.set_num_threads(1)
    n, repeats = (20_000, 3) if arguments.quick else (1_000_000, 15)
    rows: dict[str, Any] = {}
    for name in arguments.only or KERNELS:
        try:
            rows[name] = _measure(KERNELS[name], n, repeats, _copy(5))
        except Exception as error:
            raise RuntimeError(f"kernel {name}") from error
        print(name, rows[name], file=sys.stderr, flush=True)
    known = json.loads(arguments.out.read_text())["kernels"] if arguments.out.exists() else {}
    kernels = rows if arguments.quick else {**known, **rows}
    results = {
        "elements": n,
        "repeats": repeats,
        "torch": torch.__version__,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "copied_MiB": COPIED * BYTES / 2**20,
        "kernels": {name: kernels[name] for name in KERNELS if name in kernels},
    }
    page = _page(results)
    sys.stdout.write(page)
    if not arguments.quick:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(page)
    return 0


def _measure(kernel: Kernel, n: int, repeats: int, bandwidth: float) -> dict[str, Any]:
    """Time of an element, the limits and the ratios."""
    shape = (n,) if kernel.width == 1 else (n, kernel.width)
    arguments = [torch.empty(shape).uniform_(*span, generator=RNG) for span in kernel.spans]
    call = kernel.call if kernel.spans else lambda: kernel.call(n, RNG)
    read = len(arguments) * kernel.width
    forward_bytes = BYTES * (read + kernel.results + 2 * kernel.draws)
    forward = _clock(lambda: call(*arguments), repeats) / n
    row: dict[str, Any] = {"bandwidth_GB_per_s": bandwidth, "barred": kernel.barred}
    row["forward"] = _row(forward, forward_bytes, bandwidth)

    leaves = [argument.requires_grad_() for argument in arguments]
    outputs = _tuple(call(*leaves))
    if leaves and all(output.requires_grad for output in outputs):
        ones = [torch.ones_like(output) for output in outputs]
        both = _clock(lambda: torch.autograd.grad(_tuple(call(*leaves)), leaves, ones), repeats) / n
        both_bytes = forward_bytes + BYTES * (2 * read + kernel.results)
        row["forward_backward"] = _row(both, both_bytes, bandwidth)
    return row


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _row(seconds: float, n_bytes: int, bandwidth: float) -> dict[str, float]:
    limit = n_bytes / bandwidth
    return {
        "ns": round(1e9 * seconds, 3),
        "bytes": n_bytes,
        "limit_ns": round(limit, 3),
        "ratio": round(1e9 * seconds / limit, 2),
    }


def _copy(repeats: int) -> float:
    """Bandwidth of a copy [GB/s], read and written bytes together, just now."""
    source, target = torch.ones(COPIED), torch.ones(COPIED)
    return round(2 * BYTES * COPIED / _clock(lambda: target.copy_(source), repeats) / 1e9, 2)


def _clock(call: Callable[[], Any], repeats: int) -> float:
    """Median CPU time of a call [s], after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def _page(results: dict[str, Any]) -> str:
    lines = [
        "# Speed of the physics kernels",
        "",
        f"CPU time of one thread, single precision, {results['elements']:,} elements, median of "
        f"{results['repeats']}; torch {results['torch']}, {results['vector_instructions']}. The "
        "limit is the bytes that must be read and written over the bandwidth of a copy of "
        f"{results['copied_MiB']:.0f} MiB, measured before each kernel. Kernels in bold are held "
        f"to {BAR:g} times their limit. A sampler's own random numbers count as written and read.",
        "",
        "| kernel | copy [GB/s] | forward [ns] | bytes | limit [ns] | ratio "
        "| and backward [ns] | bytes | limit [ns] | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in results["kernels"].items():
        parts = [row["forward"], row.get("forward_backward")]
        cells = [
            f"{part['ns']:.2f} | {part['bytes']} | {part['limit_ns']:.2f} | {part['ratio']:.1f}"
            if part
            else " | | | "
            for part in parts
        ]
        title = f"**{name}**" if row["barred"] else name
        lines.append(f"| {title} | {row['bandwidth_GB_per_s']:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the kernels of detopt.physics.")
    parser.add_argument("--only", nargs="+", choices=list(KERNELS), metavar="KERNEL", default=[])
    parser.add_argument("--quick", action="store_true", help="few elements, written nowhere")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to merge rows into")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
