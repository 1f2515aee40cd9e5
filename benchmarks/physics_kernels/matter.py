"""Charged particles and photons in matter."""

from torch import Tensor

from detopt.physics import bragg_kleeman, moliere, muon_losses, photons, scattering, straggling
from detopt.physics import energy_loss as loss
from physics_kernels.common import BETA, ENERGY, MOMENTUM, NORMAL, PATH, RNG, Kernel, fixed, vector

NUCLEI = (PATH, (5.0, 11.0), (26.0, 82.0), (56.0, 207.0), MOMENTUM, BETA)
SLABS = (PATH, (0.3, 0.4), MOMENTUM, BETA)
ONE = vector(1.0)[0], vector(3e-4)[0]  # GeV and m of the one layer
LAYERS = (ENERGY, PATH)
THIN = (ENERGY, (1e-4, 1e-3), NORMAL)
PHOTON = (1e-4, 1e-2)


def _layer(angle: Tensor) -> Tensor:
    return moliere.moliere_survival(angle, 10.0)


KERNELS = {
    "scattering.highland_angle": Kernel(scattering.highland_angle, SLABS, barred=True),
    "scattering.highland_variance": Kernel(scattering.highland_variance, SLABS, barred=True),
    "scattering.scatter": Kernel(
        lambda path, angle: scattering.scatter(path, angle, RNG),
        (PATH, (0.001, 0.01)),
        draws=4,
        barred=True,
    ),
    "scattering.deflect": Kernel(scattering.deflect, (PATH, (0.001, 0.01), (-3.0, 3.0, 2, 2))),
    "scattering.scattering_covariance": Kernel(
        scattering.scattering_covariance, (PATH, (0.001, 0.01))
    ),
    "moliere.collision_count": Kernel(moliere.collision_count, NUCLEI),
    "moliere.lynch_dahl_angle": Kernel(moliere.lynch_dahl_angle, NUCLEI),
    "moliere.moliere_deviate": Kernel(lambda z: moliere.moliere_deviate(z, 1e5), (NORMAL,)),
    "moliere.moliere_survival": Kernel(
        lambda angle: _layer(angle.double()).float(),
        ((0.0, 10.0),),
        element="an integral over 4097 points, in double precision",
        share=1000,
    ),
    "energy_loss.stopping_power": Kernel(
        fixed(loss.stopping_power, "proton", "water"), (ENERGY,), barred=True
    ),
    "energy_loss.csda_range": Kernel(
        fixed(loss.csda_range, "proton", "water"), (ENERGY,), barred=True
    ),
    "energy_loss.energy_of_range": Kernel(
        fixed(loss.energy_of_range, "proton", "water"), (ENERGY,)
    ),
    "energy_loss.residual_energy": Kernel(
        fixed(loss.residual_energy, "proton", "water"), (ENERGY, (0.001, 0.01)), barred=True
    ),
    "energy_loss.collision_stopping_power": Kernel(
        fixed(loss.collision_stopping_power, "proton", "water"), (ENERGY,)
    ),
    "energy_loss.radiative_stopping_power": Kernel(
        fixed(loss.radiative_stopping_power, "muon", "Fe"), ((10.0, 100.0),)
    ),
    "muon_losses.loss_spectrum": Kernel(
        lambda e, v: muon_losses.loss_spectrum("PbWO4", e, v, "pair production"),
        ((100.0, 1000.0), (0.01, 0.5)),
    ),
    "muon_losses.soft_straggling": Kernel(
        lambda score: muon_losses.soft_straggling("PbWO4", 0.02, 0.05, score), (NORMAL,)
    ),
    "straggling.sample_loss": Kernel(
        lambda z: loss.sample_loss("muon", "Si", *ONE, z), (NORMAL,), barred=True
    ),
    "straggling.sample_loss, many layers": Kernel(fixed(loss.sample_loss, "muon", "Si"), THIN),
    "straggling.most_probable_loss": Kernel(fixed(loss.most_probable_loss, "muon", "Si"), LAYERS),
    "straggling.vavilov_most_probable_loss": Kernel(
        fixed(loss.vavilov_most_probable_loss, "muon", "Si"), LAYERS
    ),
    "straggling.landau_width": Kernel(fixed(loss.landau_width, "muon", "Si"), LAYERS),
    "straggling.vavilov_kappa": Kernel(fixed(loss.vavilov_kappa, "muon", "Si"), LAYERS),
    "straggling.straggling_width": Kernel(fixed(loss.straggling_width, "muon", "Si"), LAYERS),
    "straggling.landau_quantile": Kernel(straggling.landau_quantile, (NORMAL,)),
    "straggling.vavilov_quantile": Kernel(
        straggling.vavilov_quantile, (NORMAL, (0.001, 1.0), (0.5, 0.99))
    ),
    "bragg_kleeman.bragg_kleeman_range": Kernel(bragg_kleeman.bragg_kleeman_range, (ENERGY,)),
    "bragg_kleeman.bragg_kleeman_energy": Kernel(
        bragg_kleeman.bragg_kleeman_energy, (ENERGY, (0.1, 1.0))
    ),
    "bragg_kleeman.range_straggling": Kernel(bragg_kleeman.range_straggling, ((0.1, 10.0),)),
    "photons.klein_nishina": Kernel(photons.klein_nishina, (PHOTON,)),
    "photons.interactions": Kernel(fixed(photons.interactions, "Pb"), (PHOTON,)),
    "photons.shares": Kernel(fixed(photons.shares, "Pb"), (PHOTON,)),
    "photons.mass_attenuation": Kernel(fixed(photons.mass_attenuation, "Pb"), ((1e-3, 1.0),)),
    "photons.mass_attenuation, at the edges": Kernel(
        fixed(photons.mass_attenuation, "Pb"), ((1e-5, 1e-4),)
    ),
    "photons.attenuation_length": Kernel(fixed(photons.attenuation_length, "Pb"), (PHOTON,)),
    "photons.transmission": Kernel(fixed(photons.transmission, "Pb"), ((1e-3, 1.0), PATH)),
}
