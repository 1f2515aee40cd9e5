"""Kernels whose derivatives are computed by hand, against plain operations and double precision."""

import pytest
import torch

from detopt.physics import materials, photons, scattering, straggling
from detopt.physics._boxes import cross_box
from detopt.physics._fused import fused


def plain(x, y):
    return x.square() * torch.exp(y)


def together(needs, x, y):
    value = plain(x, y)
    return value, (2 * x * torch.exp(y), value) if needs else ()


def product(x, y):
    return fused(together, plain, x, y)


@pytest.fixture
def pair(rng):
    x, y = torch.rand(2, 4, 3, generator=rng, dtype=torch.float64)
    return x.requires_grad_(), y[:1].clone().requires_grad_()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_fused_function_has_all_derivatives(pair):
    torch.testing.assert_close(product(*pair), plain(*pair))
    assert torch.autograd.gradcheck(product, pair, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(product, pair)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_transforms_of_a_fused_function_are_those_of_plain_operations(pair):
    x, y = (t.detach() for t in pair)
    slope = torch.func.vmap(torch.func.grad(lambda a, b: product(a, b).sum()), in_dims=(0, None))
    torch.testing.assert_close(slope(x, y[0]), 2 * x * torch.exp(y))
    curvature = torch.func.vmap(torch.func.vmap(torch.func.hessian(lambda a: product(a, a))))(x)
    torch.testing.assert_close(curvature, (x.square() + 4 * x + 2) * torch.exp(x))


def test_many_numbers_go_through_in_blocks(rng):
    x = torch.rand(150_001, generator=rng, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(product(x, torch.ones_like(x)).sum(), x)
    torch.testing.assert_close(slope, 2 * torch.e * x)


@pytest.fixture
def lines(rng):
    offset, direction = torch.randn(2, 20, 3, generator=rng, dtype=torch.float64)
    half = torch.rand(3, generator=rng, dtype=torch.float64) + 0.5
    return tuple(x.requires_grad_() for x in (offset, direction, half))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_box_crossings_have_all_derivatives(lines):
    assert torch.autograd.gradcheck(
        cross_box, lines, check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(cross_box, lines)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_box_crossings_go_through_transforms(lines):
    offset, direction, half = (x.detach() for x in lines)

    def entry(o, d):
        return cross_box(o, d, half)[0]

    forward = torch.func.vmap(torch.func.jacfwd(entry))(offset, direction)
    backward = torch.func.vmap(torch.func.jacrev(entry))(offset, direction)
    torch.testing.assert_close(forward, backward)


def test_box_crossings_of_many_lines_are_those_of_few(rng):
    offset, direction = torch.randn(2, 40_001, 3, generator=rng).requires_grad_()
    half = torch.ones(3)
    many, few = cross_box(offset, direction, half), cross_box(offset[-3:], direction[-3:], half)
    torch.testing.assert_close([x[-3:] for x in many], list(few))
    (slope,) = torch.autograd.grad(many[1][-3:].sum(), direction, retain_graph=True)
    (expected,) = torch.autograd.grad(few[1].sum(), direction)
    torch.testing.assert_close(slope, expected)


def single_and_double(function, *numbers):
    """Value and gradients in single and in double precision."""
    results = []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).requires_grad_() for x in numbers]
        value = function(*leaves)
        gradients = torch.autograd.grad(value.sum(), leaves)
        results.append([x.double() for x in (value.detach(), *gradients)])
    return zip(*results, strict=True)


def test_quantiles_in_single_precision_agree_with_double(rng):
    score = -6.0 + 12 * torch.rand(20_000, generator=rng)  # the table ends at 5
    logarithm = -8 + 11 * torch.rand(20_000, generator=rng)
    beta_squared = torch.rand(20_000, generator=rng)

    def quantile(score, logarithm, beta_squared):
        return straggling.vavilov_quantile(score, logarithm.exp(), beta_squared)

    for single, double in single_and_double(quantile, score, logarithm, beta_squared):
        torch.testing.assert_close(single, double, rtol=1e-3, atol=1e-3)


def test_losses_in_many_layers_in_single_precision_agree_with_double(rng):
    energy, path = torch.rand(2, 5_000, generator=rng)
    score = torch.randn(5_000, generator=rng)

    def losses(*numbers):
        return straggling.sample_loss("muon", "Si", *numbers)

    pairs = single_and_double(losses, 0.1 + energy, 1e-4 + 1e-3 * path, score)
    for single, double in pairs:
        torch.testing.assert_close(single, double, rtol=1e-4, atol=1e-5 * double.abs().max())


@pytest.mark.parametrize("material", ["Pb", "PbWO4", "water"])
@pytest.mark.parametrize("coherent", [True, False])
def test_attenuation_in_single_precision_agrees_with_double(material, coherent):
    energy = torch.logspace(-5, 1, 6_001, dtype=torch.float64).float()
    value, slope = single_and_double(
        lambda e: photons.mass_attenuation(material, e, coherent), energy
    )
    torch.testing.assert_close(*value, rtol=2e-5, atol=0)
    scale = (energy / value[1]).double()
    torch.testing.assert_close(slope[0] * scale, slope[1] * scale, rtol=0, atol=1e-4)


def test_absorption_edges_are_sharp_in_single_precision():
    edge = 88.0045e-6  # GeV, the K edge of lead
    below, above = photons.mass_attenuation("Pb", torch.tensor([edge * 0.9995, edge * 1.0005]))
    sides = photons.mass_attenuation("Pb", torch.tensor([0.9995, 1.0005]).double() * edge)
    torch.testing.assert_close(torch.stack([below, above]).double(), sides, rtol=1e-4, atol=0)
    assert above > 3 * below


def test_processes_in_single_precision_add_up():
    energy = torch.logspace(-5, 1, 101)
    total = photons.interactions(materials.get("NaI"), energy).total
    torch.testing.assert_close(total, photons.mass_attenuation("NaI", energy), rtol=2e-5, atol=0)


def test_variances_of_many_steps_are_those_of_few(rng):
    numbers = 0.1 + torch.rand(4, 100_001, generator=rng, dtype=torch.float64)
    many, few = (x.clone().requires_grad_() for x in (numbers, numbers[:, -3:]))
    variances = [scattering.highland_variance(*x) for x in (many, few)]
    torch.testing.assert_close(variances[0][-3:], variances[1], rtol=1e-12, atol=0.0)
    slopes = [
        torch.autograd.grad(v[-3:].sum(), x)[0][:, -3:]
        for v, x in zip(variances, (many, few), strict=True)
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=0.0)
