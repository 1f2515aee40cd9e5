"""The kernels of `detopt.physics`, by the module in which they are, and what is none."""

from physics_kernels import beams, light, matter, motion, showers, tracks
from physics_kernels.common import RNG, Kernel

__all__ = ["KERNELS", "NO_KERNELS", "RNG", "Kernel"]

KERNELS: dict[str, Kernel] = {
    **matter.KERNELS,
    **motion.KERNELS,
    **tracks.KERNELS,
    **showers.KERNELS,
    **light.KERNELS,
    **beams.KERNELS,
}

HOLDS = "holds arguments or results, computes nothing of its own"
LOOKS_UP = "looks up a name"
ONCE = "one number for a material or a layer, computed once"
PART = "a part of `sample_tuned_showers`, timed there"
FITS = "a fit, or its check, and no part of a simulation"

NO_KERNELS: dict[str, str] = {
    "beams.BeamParticles": HOLDS,
    "electromagnetic_showers.LongitudinalCoefficients": HOLDS,
    "electromagnetic_showers.LongitudinalShape": HOLDS,
    "electromagnetic_showers.ShapeFluctuations": HOLDS,
    "energy_loss.muon_critical_energy": ONCE,
    "hadronic_showers.HadronShape": HOLDS,
    "helix_fit.HelixFit": HOLDS,
    "kalman.Filtered": HOLDS,
    "kalman.LinearModel": HOLDS,
    "kalman.Smoothed": HOLDS,
    "materials.Material": HOLDS,
    "materials.get": LOOKS_UP,
    "materials.mixture": ONCE,
    "materials.names": LOOKS_UP,
    "moliere.moliere_expansion": ONCE,
    "muon_losses.HardLosses": HOLDS,
    "muon_losses.hard_losses": ONCE,
    "neutron_absorption.absorption_cross_section": LOOKS_UP,
    "neutron_beams.GaussianBeam": HOLDS,
    "neutron_rays.Rays": HOLDS,
    "particles.Particle": HOLDS,
    "particles.charge": LOOKS_UP,
    "particles.get": LOOKS_UP,
    "particles.lifetime": LOOKS_UP,
    "particles.mass": LOOKS_UP,
    "particles.names": LOOKS_UP,
    "photons.Interactions": HOLDS,
    "pion_showers.pion_energy_scale": ONCE,
    "sampling_showers.Response": HOLDS,
    "scattering.Deflection": HOLDS,
    "shower_containment.PhotonTail": HOLDS,
    "shower_media.Medium": HOLDS,
    "shower_media.homogeneous": ONCE,
    "shower_radial.RadialShape": HOLDS,
    "shower_spots.Spots": HOLDS,
    "shower_stacks.Layer": HOLDS,
    "shower_stacks.Stack": HOLDS,
    "shower_tuning.LayerSample": HOLDS,
    "shower_tuning.ShowerMoments": HOLDS,
    "shower_tuning.fit_tuning": FITS,
    "shower_tuning.shower_moments": FITS,
    "tracking.TrackResolution": HOLDS,
    "tracking.TrackingLayers": HOLDS,
    "tuned_sampling.SamplingNoise": HOLDS,
    "tuned_sampling.sampling_noise": PART,
    "tuned_showers.ShowerTuning": HOLDS,
    "tuned_showers.cumulative_share": PART,
    "tuned_showers.expected_layer_energies": PART,
    "tuned_showers.load_tuning": LOOKS_UP,
    "tuned_showers.tuned_shape": PART,
    "vertexing.Vertex": HOLDS,
}
