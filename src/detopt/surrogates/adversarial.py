"""A conditional generative adversarial network with the Cramer distance."""

__all__ = ["CramerGAN"]

import itertools

import torch
from torch import Tensor, nn

from detopt.errors import MethodError
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.training import Training, batches, final_loss, perceptron, scheduled

PENALTY = 10.0  # of a critic whose slope is not one
CRITIC_FEATURES = 16
SMALL = 1e-12  # under a square root, whose slope at zero is infinite


class CramerGAN(ConditionalGenerator):
    r"""A network that turns noise and conditions into residuals, trained against a critic.

    The critic h maps residuals to features in which the energy distance of real and drawn ones,

    .. math::
        2\,\mathrm{E}|h(r) - h(g)| - \mathrm{E}|h(r) - h(r')| - \mathrm{E}|h(g) - h(g')|,

    is as large as a slope of one allows; the generator makes it small. For given conditions there
    is one real residual, so the generator minimizes the part that depends on it,
    :math:`|h(r) - h(g)| + |h(r) - h(g')| - |h(g) - h(g')|`. No density.

    Args:
        n_conditions: Columns of the conditions.
        n_columns: Columns of a row.
        training: Effort of a fit; a step moves the generator and the critic.
        dtype: Precision of the networks.
        hidden: Units of the hidden layers of both networks.
        n_latent: Numbers of noise behind a row.

    References:
        M. G. Bellemare et al., The Cramer Distance as a Solution to Biased Wasserstein Gradients,
        arXiv:1705.10743; S. Shirobokov et al., arXiv:2002.04632.
    """

    def __init__(
        self,
        n_conditions: int,
        n_columns: int,
        training: Training | None = None,
        dtype: torch.dtype = torch.float32,
        hidden: tuple[int, ...] = (64, 64),
        n_latent: int = 8,
    ) -> None:
        super().__init__(n_conditions, n_columns, training, dtype)
        if n_latent < 1 or not hidden or min(hidden) < 1:
            raise MethodError(
                f"`n_latent` and `hidden` units must be >= 1, got {n_latent} and {hidden}."
            )
        self.hidden, self.n_latent = tuple(hidden), n_latent

    def _build(self) -> nn.Module:
        n_in = self.n_columns + self.n_conditions
        generator = perceptron(self.n_latent + self.n_conditions, self.hidden, self.n_columns)
        critic = perceptron(n_in, self.hidden, CRITIC_FEATURES)
        for network in (generator, critic):
            last = network[-1]
            assert isinstance(last, nn.Linear)
            last.reset_parameters()  # at zero neither would learn
        return nn.ModuleDict({"generator": generator, "critic": critic})

    def _train(
        self,
        network: nn.Module,
        conditions: Tensor,
        residuals: Tensor,
        n_steps: int,
        rng: torch.Generator,
    ) -> float:
        network.requires_grad_(True)
        assert isinstance(network, nn.ModuleDict)
        critic = network["critic"]
        rules = [scheduled(network[name].parameters(), self.training, n_steps) for name in network]
        size = min(self.training.batch, len(residuals))
        losses = []
        for rows in itertools.islice(batches(len(residuals), size, rng), n_steps):
            given, real = conditions[rows], residuals[rows]
            first, second = (self._draw(network, given, rng) for _ in range(2))
            loss = _distance(critic, given, real, first, second)
            (rule, rate), (critic_rule, critic_rate) = rules
            rule.zero_grad()
            loss.backward()
            rule.step()
            first, second = first.detach(), second.detach()
            gap = _distance(critic, given, real, first, second)
            strictness = PENALTY * _steepness(critic, given, real, first, rng)
            critic_rule.zero_grad()
            (strictness - gap).backward()
            critic_rule.step()
            rate.step()
            critic_rate.step()
            losses.append(float(loss.detach()))
        return final_loss(losses)

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        assert isinstance(network, nn.ModuleDict)
        noise = torch.randn(len(conditions), self.n_latent, generator=rng, dtype=self.dtype)
        residuals: Tensor = network["generator"](torch.cat([noise, conditions], dim=1))
        return residuals


def _distance(critic: nn.Module, given: Tensor, real: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """What of the energy distance depends on the generator, in the critic's features."""
    at = [critic(torch.cat([rows, given], dim=1)) for rows in (real, one, two)]
    return (_norm(at[0] - at[1]) + _norm(at[0] - at[2]) - _norm(at[1] - at[2])).mean()


def _norm(rows: Tensor) -> Tensor:
    return (rows.square().sum(dim=1) + SMALL).sqrt()


def _steepness(
    critic: nn.Module, given: Tensor, real: Tensor, drawn: Tensor, rng: torch.Generator
) -> Tensor:
    """Mean square of the excess of the critic's slope over one, between real and drawn rows."""
    share = torch.rand(len(real), 1, generator=rng, dtype=real.dtype)
    between = (share * real + (1 - share) * drawn).requires_grad_()
    features = critic(torch.cat([between, given], dim=1))
    anchor = critic(torch.cat([drawn, given], dim=1))
    (slopes,) = torch.autograd.grad(_norm(features - anchor).sum(), between, create_graph=True)
    return (_norm(slopes) - 1).clamp(min=0).square().mean()
