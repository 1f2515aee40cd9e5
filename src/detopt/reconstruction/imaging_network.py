"""A small network that makes an image of what muons were scattered by."""

__all__ = ["ImagingNetwork", "log_scattering", "scattering_density"]

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from detopt.reconstruction.muon_maps import (
    N_FEATURES,
    WATER,
    muon_features,
    muon_signals,
    voxel_maps,
)
from detopt.reconstruction.poca_imaging import REFERENCE_MOMENTUM
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.voxel_grid import Grid

N_SIGNALS = 2  # what is summed as it is, beside what the network makes of it


def log_scattering(density: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r""":math:`\ln(1 + \lambda / \lambda_w)` of scattering densities [rad2/m at 3 GeV/c].

    About 0 in air, 0.7 in water, 3.1 in iron, 4.2 in lead.
    """
    return torch.log1p(density / WATER)


def scattering_density(logarithm: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Scattering densities [rad2/m at 3 GeV/c], the inverse of `log_scattering`."""
    return WATER * torch.expm1(logarithm)


class ImagingNetwork(nn.Module):
    r"""Scattering density of each voxel, from scattering points and paths of muons.

    A perceptron turns the features of each muon into numbers that are summed at its scattering
    point and along its path (`voxel_maps`); a convolutional network of three scales turns these
    maps into :math:`\ln(1 + \lambda/\lambda_w)`.

    Args:
        widths: Channels at each scale, each of half the resolution of the one before.
        n_point: Numbers of a muon that are summed at its scattering point.
        n_path: Numbers of a muon that are summed along its path.
        n_hidden: Width of the perceptron.

    Note:
        A sum over muons, whose order and number are free (deep sets); the convolutions move with
        the grid, whose size is free. Smooth in the tracks: a design has a gradient through it.

    References:
        M. Zaheer et al., Adv. Neural Inf. Process. Syst. 30 (2017), for the sums; O. Ronneberger,
        P. Fischer and T. Brox, arXiv:1505.04597, for the scales.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 24, 32),
        n_point: int = 6,
        n_path: int = 4,
        n_hidden: int = 24,
    ) -> None:
        super().__init__()
        self.options = {
            "widths": widths,
            "n_point": n_point,
            "n_path": n_path,
            "n_hidden": n_hidden,
        }
        self.n_point = n_point
        self.muon = nn.Sequential(
            nn.Linear(N_FEATURES, n_hidden),
            nn.SiLU(),
            nn.Linear(n_hidden, n_hidden),
            nn.SiLU(),
            nn.Linear(n_hidden, n_point + n_path),
        )
        n_maps = n_point + n_path + 2 * N_SIGNALS + 1
        entering = (n_maps + 1, *widths[:-1])
        self.down = nn.ModuleList(
            _Pair(before, after) for before, after in zip(entering, widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Pair(coarse + fine, fine)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv3d(widths[0], 1, 1)

    def forward(
        self, tracks: MuonTracks, weight: Float[Tensor, "*batch n_muons"], grid: Grid
    ) -> Float[Tensor, "*batch nx ny nz"]:
        r""":math:`\ln(1 + \lambda/\lambda_w)` in each voxel, in the precision of the tracks.

        Args:
            tracks: The muons, of one volume or of several.
            weight: Probability that a muon is measured.
            grid: The voxels.
        """
        network = self.in_precision(tracks.momentum.dtype)
        return network.image(network.maps(tracks, weight, grid))

    if TYPE_CHECKING:
        __call__ = forward

    def in_precision(self, dtype: torch.dtype) -> "ImagingNetwork":
        """The network itself, or a copy of it with weights of another precision."""
        return self if self.last.weight.dtype == dtype else copy.deepcopy(self).to(dtype)

    def maps(
        self, tracks: MuonTracks, weight: Float[Tensor, "*batch n_muons"], grid: Grid
    ) -> Float[Tensor, "*batch n_maps nx ny nz"]:
        """What `image` is made of; the last map is the logarithm of 1 + the crossings.

        Unknown momenta are taken to be 3 GeV/c, as in training.
        """
        if not tracks.momentum_known:
            tracks = replace(tracks, momentum=torch.full_like(tracks.momentum, REFERENCE_MOMENTUM))
        poca = tracks.closest_approach()
        signals = muon_signals(tracks, poca, grid)
        learned = self.muon(muon_features(tracks, poca, grid))
        at_points, on_paths = learned.split([self.n_point, learned.shape[-1] - self.n_point], -1)
        maps = voxel_maps(
            tracks,
            poca,
            weight,
            torch.cat([signals, at_points], dim=-1),
            torch.cat([signals, on_paths], dim=-1),
            grid,
        )
        n_along = on_paths.shape[-1]
        sizes = [N_SIGNALS, self.n_point, N_SIGNALS, n_along, 1]
        here, sums_here, along, sums_along, crossings = maps.split(sizes, dim=-4)
        raw = torch.log1p(torch.cat([here, along], dim=-4))
        return torch.cat([raw, sums_here, sums_along, crossings], dim=-4)

    def image(
        self, maps: Float[Tensor, "*batch n_maps nx ny nz"]
    ) -> Float[Tensor, "*batch nx ny nz"]:
        r""":math:`\ln(1 + \lambda/\lambda_w)` from `maps`."""
        flat = maps.reshape(-1, *maps.shape[-4:])
        inside = torch.ones_like(flat[:, :1])  # beyond the grid there are zeros
        found = functional.softplus(self._convolved(torch.cat([flat, inside], dim=1)))
        return found.reshape(*maps.shape[:-4], *maps.shape[-3:])

    def _convolved(self, maps: Float[Tensor, "v c nx ny nz"]) -> Float[Tensor, "v nx ny nz"]:
        levels = [self.down[0](maps)]
        for pair in self.down[1:]:
            kernel = [min(2, n) for n in levels[-1].shape[2:]]  # a single layer stays one
            levels.append(pair(functional.avg_pool3d(levels[-1], kernel, ceil_mode=True)))
        found = levels.pop()
        for pair in self.up:
            fine = levels.pop()
            nx, ny, nz = fine.shape[2:]
            coarse = functional.interpolate(found, scale_factor=2.0, mode="nearest")
            found = pair(torch.cat([coarse[:, :, :nx, :ny, :nz], fine], dim=1))
        image: Tensor = self.last(found).squeeze(1)
        return image


class _Pair(nn.Module):
    """Two convolutions, the second around a shortcut."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(n_in, n_out, 3, padding=1)
        self.second = nn.Conv3d(n_out, n_out, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        once = functional.silu(self.first(maps))
        return once + functional.silu(self.second(once))
