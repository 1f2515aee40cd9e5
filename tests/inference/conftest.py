"""Workspaces as analyses have them, drawn at random: several channels and all modifiers."""

import pytest
import torch


def make_workspace(seed, n_channels=3):
    """Signal and control regions with normalizations, shapes, statistics and luminosity."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(low, high, n=None):
        drawn = torch.rand(n or 1, generator=rng, dtype=torch.float64) * (high - low) + low
        return drawn.tolist() if n else drawn.item()

    def around(counts, spread):
        return [c * (1 + uniform(-spread, spread)) for c in counts]

    def modifier(name, kind, data=None):
        return {"name": name, "type": kind, "data": data}

    def shape(name, counts):
        data = {"lo_data": around(counts, 0.1), "hi_data": around(counts, 0.1)}
        return modifier(name, "histosys", data)

    def norm(name):
        return modifier(name, "normsys", {"lo": uniform(0.8, 0.98), "hi": uniform(1.02, 1.2)})

    channels, observations = [], []
    for c in range(n_channels):
        n_bins = 3 + c
        name = f"region_{'zyxw'[c]}"  # not in the order of the alphabet
        signal = uniform(2.0, 8.0, n_bins)
        top = uniform(20.0, 60.0, n_bins)
        fakes = uniform(4.0, 9.0, n_bins)
        statistics = f"staterror_{name}"
        samples = [
            {
                "name": "top",
                "data": top,
                "modifiers": [
                    modifier("lumi", "lumi"),
                    shape("jet_scale", top),
                    norm("jet_scale"),
                    shape("top_shape", top),
                    norm("trigger"),
                    modifier(statistics, "staterror", around([1.5] * n_bins, 0.3)),
                ],
            },
            {
                "name": "signal",
                "data": signal,
                "modifiers": [
                    modifier("mu", "normfactor"),
                    modifier("lumi", "lumi"),
                    shape("jet_scale", signal),
                    norm("theory"),
                ],
            },
        ]
        if c != 1:
            with_zero = [0.0, *around([1.0] * (n_bins - 1), 0.3)]
            samples.append(
                {
                    "name": "fakes",
                    "data": fakes,
                    "modifiers": [
                        modifier(f"fakes_{name}", "shapesys", with_zero),
                        modifier(statistics, "staterror", around([0.7] * n_bins, 0.3)),
                    ],
                }
            )
        else:
            multijet = uniform(3.0, 6.0, n_bins)
            samples.append(
                {
                    "name": "multijet",
                    "data": multijet,
                    "modifiers": [
                        modifier("multijet", "shapefactor"),
                        modifier("scale_multijet", "normfactor"),
                    ],
                }
            )
        channels.append({"name": name, "samples": samples})
        total = [sum(column) for column in zip(*(s["data"] for s in samples), strict=True)]
        observations.append({"name": name, "data": [float(round(t)) for t in around(total, 0.1)]})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.017],
        "bounds": [[0.915, 1.085]],
        "inits": [1.0],
        "fixed": False,
    }
    scale = {"name": "scale_multijet", "inits": [1.0], "fixed": True}
    config = {"poi": "mu", "parameters": [lumi, scale]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "discovery", "config": config}],
        "version": "1.0.0",
    }


@pytest.fixture
def realistic_workspace():
    """Makes the plain lists and numbers of a workspace from a seed."""
    return make_workspace
