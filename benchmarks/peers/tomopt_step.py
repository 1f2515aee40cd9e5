"""Time one optimisation step of TomOpt 0.1.0, the peer of detopt's muon scanner.

Run by the python of TomOpt's own environment, never by detopt's:

    python3.11 tomopt_step.py --make-env /tmp/peers/tomopt
    /tmp/peers/tomopt/bin/python tomopt_step.py --config std250 --repeats 6
    /tmp/peers/tomopt/bin/python tomopt_step.py --config std250 --serve

The first line makes the environment (standard library only), the second prints one JSON object,
the third prints ``ready`` and then answers every line ``go`` on stdin with one repetition as one
line of JSON (``info`` gives the header, ``quit`` or the end of stdin stops), so that a caller can
alternate two programs in one run.

One repetition is one step of TomOpt's own training loop (``PanelVolumeWrapper.fit`` with one epoch
of one volume): draw the muons, send them through the upper panels, the passive volume and the lower
panels, fit tracks, infer, loss, backward to xy, z and span of all panels, optimiser step of size 0.
The times are CPU seconds of this process, all threads (there is one). They are taken by a callback,
at the hooks that TomOpt offers:

- propagate: drawing the muons and passing them through the volume;
- infer:     track fits, scattering variables with their uncertainties, prediction, loss;
- backward:  zero_grad, backward, optimiser step;
- total:     from the start of the volume to the end of the optimiser step, the sum of the three.

This program imports TomOpt (AGPL-3.0-only), so it is run beside detopt, which imports neither.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

THREADS = 1

# Changes against "std" of the timing configurations; see README.md.
STD = {
    "n_muons": 1000,  # in one batch unless "batch" says otherwise
    "batch": None,
    "voxel": 0.1,  # m
    "layers": 6,
    "panels": 4,  # above, and as many below
    "step": 0.01,  # m
    "momentum": 5.0,  # GeV/c; None: from the flux model
    "task": "x0",
}
CONFIGS = {
    "std": {},
    "std250": {"batch": 250},
    "std100": {"batch": 100},
    "mu250": {"n_muons": 250},
    "mu500": {"n_muons": 500},
    "mu2000": {"n_muons": 2000},
    "mu10000_b250": {"n_muons": 10_000, "batch": 250},
    "class250": {"batch": 250, "layers": 10, "task": "class"},
    "fill": {"batch": 250, "layers": 10, "task": "fill"},
    "layers3": {"batch": 250, "layers": 3},
    "vox10": {"batch": 250, "layers": 10},
    "vox20cube": {"batch": 250, "layers": 20, "voxel": 0.05},
    "panels2": {"batch": 250, "panels": 2},
    "panels8": {"batch": 250, "panels": 8},
    "step5cm": {"batch": 250, "step": 0.05},
    "spectrum": {"batch": 250, "momentum": None},
}

Z_PASSIVE = 0.4  # bottom of the passive volume [m]
DETECTOR_HEIGHT = 0.4  # of the layer above and of the layer below [m]
WIDTH = 1.0  # of the volume and of every panel, x and y [m]
RESOLUTION = 1e4  # per metre
EFFICIENCY = 0.9
SMOOTHNESS = 0.5
BLOCK = (0.4, 0.4, 0.2)  # m
BLOCK_VOXELS = 32  # in voxels of 10 cm, for "class250"


def make_env(target):
    """Make TomOpt's environment in the folder ``target`` (Python 3.11, CPU build of torch)."""
    if sys.version_info[:2] != (3, 11):
        sys.exit("TomOpt 0.1.0 pins packages whose wheels end at Python 3.11: use python3.11")
    wanted = str(Path(__file__).resolve().parent / "tomopt-requirements.txt")
    python = str(Path(target) / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", target], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-c", wanted]
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    subprocess.run([*pip, "-r", wanted], check=True)
    check = (
        "import tomopt.volume, torch as t; print('torch', t.__version__, 'cuda', t.version.cuda)"
    )
    subprocess.run([python, "-c", check], check=True)
    print(python)


def peak_mib():
    """Peak resident memory of this process so far, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


class Bench:
    """One configuration, built and ready to run repetitions."""

    def __init__(self, config, seed=0):
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(THREADS)
        os.environ.setdefault("MPLBACKEND", "Agg")
        import warnings

        warnings.filterwarnings("ignore")

        from functools import partial

        import numpy as np
        import torch
        from tomopt.inference import DenseBlockClassifierFromX0s, PanelX0Inferrer, ScatterBatch
        from tomopt.muon import MuonGenerator2016
        from tomopt.optimisation import PanelVolumeWrapper
        from tomopt.optimisation.callbacks import Callback
        from tomopt.optimisation.data import (
            BlockPresentPassiveGenerator,
            PassiveYielder,
            RandomBlockPassiveGenerator,
        )
        from tomopt.optimisation.loss import VolumeClassLoss, VolumeMSELoss, VoxelX0Loss
        from tomopt.volume import PanelDetectorLayer, PassiveLayer, SigmoidDetectorPanel, Volume

        torch.set_num_threads(THREADS)
        torch.set_num_interop_threads(THREADS)
        np.random.seed(seed)  # noqa: NPY002 (TomOpt draws from it)
        torch.manual_seed(seed)

        self.config = config
        self.c = c = {**STD, **CONFIGS[config]}
        self.c["batch"] = c["batch"] or c["n_muons"]
        self.torch = torch
        self.after_import = peak_mib()

        # Volume: detector layer, passive layers (top to bottom), detector layer.
        lw = torch.tensor([WIDTH, WIDTH])
        top = Z_PASSIVE + c["layers"] * c["voxel"]
        gap = DETECTOR_HEIGHT / (c["panels"] + 1)  # 8 cm for four panels

        def detector(pos, z_top):
            panels = [
                SigmoidDetectorPanel(
                    smooth=SMOOTHNESS,
                    res=RESOLUTION,
                    eff=EFFICIENCY,
                    init_xyz=(WIDTH / 2, WIDTH / 2, z_top - (i + 1) * gap),
                    init_xy_span=(WIDTH, WIDTH),
                )
                for i in range(c["panels"])
            ]
            return PanelDetectorLayer(pos=pos, lw=lw, z=z_top, size=DETECTOR_HEIGHT, panels=panels)

        layers = [detector("above", top + DETECTOR_HEIGHT)]
        for i in range(c["layers"]):
            z = round(top - i * c["voxel"], 6)
            layers.append(PassiveLayer(lw=lw, z=z, size=c["voxel"], step_sz=c["step"]))
        layers.append(detector("below", Z_PASSIVE))
        volume = Volume(torch.nn.ModuleList(layers))

        # Content, inference and loss.
        content = {"volume": volume, "block_size": BLOCK, "materials": ["water", "lead"]}
        if c["task"] == "x0":
            generator = RandomBlockPassiveGenerator(sort_x0=True, enforce_diff_mat=True, **content)
            inferrer, loss = PanelX0Inferrer, VoxelX0Loss(target_budget=None, cost_coef=0.0)
        elif c["task"] == "class":
            from tomopt.core import X0

            generator = BlockPresentPassiveGenerator(**content)
            inferrer = partial(
                DenseBlockClassifierFromX0s,
                n_block_voxels=BLOCK_VOXELS,
                partial_x0_inferrer=PanelX0Inferrer,
            )
            ids = {X0["water"]: 0, X0["lead"]: 1}
            loss = VolumeClassLoss(x02id=ids, target_budget=None, cost_coef=0.0)
        else:
            from tomopt.benchmarks.ladle_furnace import (
                LadleFurnacePassiveGenerator,
                PocaZLadleFurnaceFillLevelInferrer,
            )

            generator = LadleFurnacePassiveGenerator(volume)
            inferrer = PocaZLadleFurnaceFillLevelInferrer
            loss = VolumeMSELoss(target_budget=None, cost_coef=0.0)

        bench = self

        class Marks(Callback):
            """Collects the CPU time at TomOpt's own hooks."""

            def on_volume_begin(self):
                bench.parts = {"propagate": 0.0, "infer": 0.0, "backward": 0.0}
                bench.muons_used = 0
                bench.begin = bench.last = time.process_time()

            def on_mu_batch_end(self):
                bench.muons_used += len(self.wrapper.fit_params.sb)
                bench.mark("infer")

            def on_volume_end(self):  # prediction and loss are done
                bench.mark("infer")

            def on_step_end(self):
                bench.mark("backward")
                bench.loss = float(self.wrapper.fit_params.mean_loss)

        def scatters(mu, volume):  # called when the muons have passed the volume
            bench.mark("propagate")
            return ScatterBatch(mu=mu, volume=volume)

        still = partial(torch.optim.SGD, lr=0.0)
        self.wrapper = PanelVolumeWrapper(
            volume,
            xy_pos_opt=still,
            z_pos_opt=still,
            xy_span_opt=still,
            loss_func=loss,
            partial_scatter_inferrer=scatters,
            partial_volume_inferrer=inferrer,
            mu_generator=MuonGenerator2016(
                x_range=(0, WIDTH), y_range=(0, WIDTH), fixed_mom=c["momentum"]
            ),
        )
        self.callback = Marks
        self.passives = lambda: PassiveYielder(generator, n_passives=1)

    def mark(self, part):
        """Book the CPU time since the last mark to ``part``."""
        now = time.process_time()
        self.parts[part] += now - self.last
        self.last = now

    def repetition(self):
        """Run one step; the result is a dict of CPU seconds."""
        import contextlib
        import tempfile

        retries = 0
        with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as null:
            while True:
                try:
                    with contextlib.redirect_stdout(null):  # the progress bar
                        self.wrapper.fit(
                            n_epochs=1,
                            passive_bs=1,
                            n_mu_per_volume=self.c["n_muons"],
                            mu_bs=self.c["batch"],
                            trn_passives=self.passives(),
                            val_passives=None,
                            cbs=[self.callback()],
                            cb_savepath=folder,
                        )
                    break
                except ValueError as err:  # TomOpt refuses a prediction with NaN: draw again
                    retries += 1
                    if "NaN" not in str(err) or retries > 5:
                        raise
        total = self.last - self.begin
        result = {name: round(value, 4) for name, value in self.parts.items()}
        result["total"] = round(total, 4)
        result["ms_per_muon"] = round(1e3 * total / self.c["n_muons"], 4)
        result["peak_rss_mib"] = peak_mib()
        result["muons_used"] = self.muons_used
        result["loss"] = self.loss
        result["grad_norm"] = self.gradients()
        if retries:
            result["retries"] = retries
        return result

    def gradients(self):
        """Norm of the gradient in xy, z and span over all panels (it must exist)."""
        panels = [p for layer in self.wrapper.get_detectors() for p in layer.panels]
        norms = {}
        for name in ("xy", "z", "xy_span"):
            grads = [getattr(p, name).grad for p in panels]
            if any(g is None for g in grads):
                norms[name] = None
            else:
                norms[name] = float(sum(g.square().sum() for g in grads).sqrt())
        return norms

    def header(self):
        """What was built, and with which versions."""
        from importlib.metadata import version

        n_xy = round(WIDTH / self.c["voxel"])
        return {
            "program": "tomopt",
            "version": version("tomopt"),
            "torch": self.torch.__version__,
            "python": sys.version.split()[0],
            "threads": self.torch.get_num_threads(),
            "config": self.config,
            "n_muons": self.c["n_muons"],
            "batch": self.c["batch"],
            "voxels": [n_xy, n_xy, self.c["layers"]],
            "panels": 2 * self.c["panels"],
            "task": self.c["task"],
            "unit": "CPU seconds",
            "rss_after_import_mib": self.after_import,
        }


def main(argv=None):
    parser = argparse.ArgumentParser(description="Time one optimisation step of TomOpt 0.1.0.")
    parser.add_argument("--config", choices=sorted(CONFIGS), default="std250")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions after one warm-up")
    parser.add_argument("--serve", action="store_true", help='a repetition for each line "go"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-warmup", action="store_true", help="leave out the warm-up repetition")
    parser.add_argument("--make-env", metavar="FOLDER", help="make TomOpt's environment, stop")
    args = parser.parse_args(argv)
    if args.make_env:
        return make_env(args.make_env)

    bench = Bench(args.config, args.seed)
    if not args.no_warmup:
        bench.repetition()
    if args.serve:
        print("ready", flush=True)
        for line in sys.stdin:
            word = line.strip()
            if word == "go":
                print(json.dumps(bench.repetition()), flush=True)
            elif word == "info":
                print(json.dumps(bench.header()), flush=True)
            elif word == "quit":
                break
        return None
    results = [bench.repetition() for _ in range(args.repeats)]
    per_muon = sorted(r["ms_per_muon"] for r in results)
    report = {**bench.header(), "repetitions": results}
    if per_muon:
        n = len(per_muon)
        report["median_ms_per_muon"] = (per_muon[(n - 1) // 2] + per_muon[n // 2]) / 2
    report["peak_rss_mib"] = peak_mib()
    print(json.dumps(report, indent=1))
    return None


if __name__ == "__main__":
    main()
