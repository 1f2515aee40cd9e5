"""Time muograph's images of its own Geant4 sample; runs in the Python of muograph's environment.

    /tmp/peers/muograph/bin/python benchmarks/peers/muograph_images.py --where
    /tmp/peers/muograph/bin/python benchmarks/peers/muograph_images.py --serve

The first prints the path of the sample that the package ships. The second reads a table of hits,
prints `ready`, and answers each line on stdin, a name of `SETTINGS`, with one line of JSON: CPU
seconds from the hits in memory to the image, and the npz file that holds it. Settings of one
algorithm share what it prepares from the tracks; its time counts for each of them. `again` before
the name prepares it anew.
"""

import argparse
import contextlib
import functools
import io
import json
import math
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

with contextlib.redirect_stdout(io.StringIO()):
    import muograph
    import numpy as np
    import pandas
    import torch
    from muograph.hits.hits import Hits
    from muograph.reconstruction.asr import ASR, ASRParams
    from muograph.reconstruction.binned_clustered import BCA, BCAParams
    from muograph.reconstruction.poca import POCA, POCAParams
    from muograph.tracking.tracking import Tracking, TrackingMST
    from muograph.volume.volume import Volume

SAMPLE = Path(muograph.__file__).parent / "data/iron_barrel/barrel_and_cubes_scattering.csv"
CENTER, SIZE, VOXEL = (0, 0, -1200), (1000, 600, 600), (20, 20, 20)  # mm, of its tutorials
DEGREE = math.pi / 180
SETTINGS = {  # name: (algorithm, parameters); the first of each kind are its defaults
    "poca": (POCA, POCAParams()),
    "poca_p": (POCA, POCAParams(use_p=True)),
    "poca_p70": (POCA, POCAParams(use_p=True, p_clamp=0.7)),  # its tutorial
    "poca_p50": (POCA, POCAParams(use_p=True, p_clamp=0.5)),
    "poca_count": (POCA, None),  # number of points in a voxel, its tutorial
    "asr": (ASR, ASRParams()),
    "asr_p": (ASR, ASRParams(use_p=True)),  # its tutorial
    "asr_p75": (ASR, ASRParams(use_p=True, score_method=functools.partial(np.quantile, q=0.75))),
    "asr_p90": (ASR, ASRParams(use_p=True, score_method=functools.partial(np.quantile, q=0.9))),
    "asr_p_slow": (ASR, ASRParams(use_p=True, p_range=(0.0, 20_000.0))),  # MeV
    "bca": (BCA, BCAParams()),
    "bca_p": (BCA, BCAParams(use_p=True)),
    "bca_p70": (  # its tutorial
        BCA,
        BCAParams(
            n_max_per_vox=50,
            n_min_per_vox=2,
            score_method=functools.partial(torch.quantile, q=0.7),
            dtheta_range=(0.1 * DEGREE, math.pi / 3),
            use_p=True,
        ),
    ),
    "bca_p20": (  # its own test
        BCA,
        BCAParams(n_max_per_vox=20, dtheta_range=(0.05 * DEGREE, 20 * DEGREE), use_p=True),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="muograph's images of a table of hits.")
    parser.add_argument("--where", action="store_true", help="print the path of the sample")
    parser.add_argument("--serve", action="store_true", help="answer lines on stdin")
    parser.add_argument("--hits", type=Path, default=SAMPLE, help="table of hits, mm and MeV")
    parser.add_argument("--muons", type=int, help="use the first of them only")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the images")
    arguments = parser.parse_args()
    if arguments.where:
        print(SAMPLE)
    if arguments.serve:
        torch.set_num_threads(1)
        table = pandas.read_csv(arguments.hits, nrows=arguments.muons)
        print("ready", flush=True)
        prepared: dict[type, tuple[POCA | ASR, float]] = {}
        for line in sys.stdin:
            answer = _answer(line.strip(), table, prepared, arguments.out)
            print(json.dumps(answer), flush=True)
    return 0


def _answer(
    line: str, table: "pandas.DataFrame", prepared: dict[type, tuple[POCA | ASR, float]], out: Path
) -> dict[str, str | float]:
    again, _, name = line.rpartition(" ")
    kind, parameters = SETTINGS[name]
    with contextlib.redirect_stdout(io.StringIO()):
        if again or kind not in prepared:
            begin = time.process_time()
            algorithm = _prepare(kind, table)
            prepared[kind] = algorithm, time.process_time() - begin
        algorithm, preparation = prepared[kind]
        begin = time.process_time()
        if parameters is None:
            image = algorithm.n_poca_per_vox.numpy()
        else:
            algorithm.params = parameters
            image = algorithm.xyz_voxel_pred.numpy()
        seconds = time.process_time() - begin
    path = out / f"muograph_{name}.npz"
    np.savez(path, values=image)
    return {"name": name, "cpu_s": preparation + seconds, "path": str(path)}


def _prepare(kind: type, table: "pandas.DataFrame") -> POCA | ASR:
    tracks = [
        Tracking(label=label, hits=Hits(data=table, plane_labels=planes, input_unit="mm"))
        for label, planes in (("above", (0, 1, 2)), ("below", (3, 4, 5)))
    ]
    algorithm = kind(voi=Volume(CENTER, SIZE, VOXEL), tracking=TrackingMST(tuple(tracks)))
    # what it computes on first use
    _ = algorithm.triggered_voxels if kind is ASR else algorithm.poca_indices
    return algorithm


if __name__ == "__main__":
    sys.exit(main())
