"""Time the kernels of `detopt.physics` beside the memory bandwidth; prints a table, writes JSON.

    python benchmarks/physics.py                     all kernels
    python benchmarks/physics.py --only helix boost  those whose names hold a word; others stay
    python benchmarks/physics.py --quick             few elements, written nowhere

Time is CPU time of one thread in single precision, the median of repetitions. The limit of a
kernel is what it must read and write, in bytes, over the bandwidth of a copy between arrays that
do not fit into the cache. Kernel and copy are timed in turns, so that what else the machine does
slows both; each call after a copy, which finds its data out of the cache, is not counted. Forward:
arguments and results. Backward: arguments and gradients of the results are read, gradients of the
arguments written. Random numbers that a sampler draws itself count as written and read once more.
The kernels are in `physics_kernels`.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch is imported

import torch
from torch import Tensor

from physics_kernels import KERNELS, RNG, Kernel

RESULTS = Path(__file__).resolve().parent / "results" / "physics.json"
BYTES = 4  # of a number in single precision
COPIED = 1 << 25  # numbers in the array that is copied: 128 MiB
BAR = 10.0  # times the limit
ELEMENTS, ROUNDS = 1_000_000, 7
QUICK = 20_000, 1
CALLS = 5  # of a kernel in a round, between two copies


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    torch.set_num_threads(1)
    n, rounds = QUICK if arguments.quick else (ELEMENTS, ROUNDS)
    known: dict[str, Any] = {}
    if arguments.out.exists() and not arguments.quick:
        known = json.loads(arguments.out.read_text())["kernels"]
    for name in _chosen(arguments.only):
        try:
            known[name] = measure(KERNELS[name], n, rounds)
        except Exception as error:
            raise RuntimeError(f"kernel {name}") from error
        print(name, known[name], file=sys.stderr, flush=True)
        results = {
            "elements": n,
            "repeats": rounds * CALLS,
            "torch": torch.__version__,
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "copied_MiB": COPIED * BYTES / 2**20,
            "kernels": {name: known[name] for name in KERNELS if name in known},
        }
        if not arguments.quick:  # after each row, so that a run may be cut short
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
            arguments.out.with_suffix(".md").write_text(_page(results))
    sys.stdout.write(_page(results))
    return 0


def measure(kernel: Kernel, n_numbers: int, rounds: int) -> dict[str, Any]:
    """Time of an element, the limits and the ratios."""
    n = max(n_numbers // kernel.share, 1)
    arguments = [
        torch.empty(n, *map(int, shape)).uniform_(low, high, generator=RNG)
        for low, high, *shape in kernel.spans
    ]
    call = kernel.call if kernel.spans else lambda: kernel.call(n, RNG)
    read = sum(argument.numel() for argument in arguments) / n
    written = sum(t.numel() * t.element_size() for t in tensors(call(*arguments))) / n
    forward_bytes = BYTES * (read + 2 * kernel.draws) + written
    row: dict[str, Any] = {
        "barred": kernel.barred,
        "element": kernel.element,
        "elements": n,
    }
    seconds, bandwidth = _in_turns(lambda: call(*arguments), rounds)
    row["bandwidth_GB_per_s"] = round(bandwidth, 2)
    row["forward"] = _row(seconds / n, forward_bytes, bandwidth)

    leaves = [argument.requires_grad_() for argument in arguments]
    ones = [torch.ones_like(t) for t in _smooth(call(*leaves))]
    if leaves and ones:

        def both() -> Any:
            outputs = _smooth(call(*leaves))
            return torch.autograd.grad(outputs, leaves, ones, allow_unused=True)

        given = sum(t.numel() for t in ones) / n
        both_bytes = forward_bytes + BYTES * (2 * read + given)
        seconds, bandwidth = _in_turns(both, rounds)
        row["forward_backward"] = _row(seconds / n, both_bytes, bandwidth)
    return row


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in what a kernel returned: one, several, or in a dataclass."""
    if isinstance(output, Tensor):
        yield output
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from tensors(getattr(output, field.name))
    elif isinstance(output, tuple):
        for part in output:
            yield from tensors(part)


def _chosen(words: list[str]) -> list[str]:
    names = [name for name in KERNELS if not words or any(word in name for word in words)]
    if not names:
        raise SystemExit(f"No kernel has {' or '.join(words)} in its name. See physics_kernels.")
    return names


def _smooth(output: Any) -> list[Tensor]:
    return [t for t in tensors(output) if t.requires_grad]


def _row(seconds: float, n_bytes: float, bandwidth: float) -> dict[str, float]:
    limit = n_bytes / bandwidth
    return {
        "ns": round(1e9 * seconds, 3),
        "bytes": round(n_bytes),
        "limit_ns": round(limit, 3),
        "ratio": round(1e9 * seconds / limit, 2),
    }


def _in_turns(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median CPU time of a call [s], and bandwidth of a copy [GB/s], read and written together."""
    source, target = torch.ones(COPIED), torch.ones(COPIED)
    call()
    copies, calls = [], []
    for _ in range(rounds):
        copies.append(_seconds(lambda: target.copy_(source)))
        call()
        calls += [_seconds(call) for _ in range(CALLS)]
    return statistics.median(calls), 2 * BYTES * COPIED / statistics.median(copies) / 1e9


def _seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _page(results: dict[str, Any]) -> str:
    lines = [
        "# Speed of the physics kernels",
        "",
        f"CPU time of one thread, single precision, {results['elements']:,} elements unless the "
        f"row says fewer, median of {results['repeats']}; torch {results['torch']}, "
        f"{results['vector_instructions']}. The limit is the bytes that must be read and written "
        f"over the bandwidth of a copy of {results['copied_MiB']:.0f} MiB, measured in turns with "
        f"each kernel. Kernels in bold are held to {BAR:g} times their limit. A sampler's own "
        "random numbers count as written and read.",
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
        fewer = "" if row["elements"] == results["elements"] else f"{row['elements']:,} elements"
        notes = "; ".join(note for note in (row["element"], fewer) if note)
        title += f" ({notes})" if notes else ""
        lines.append(f"| {title} | {row['bandwidth_GB_per_s']:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the kernels of detopt.physics.")
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[], help="parts of names")
    parser.add_argument("--quick", action="store_true", help="few elements, written nowhere")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to merge rows into")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
