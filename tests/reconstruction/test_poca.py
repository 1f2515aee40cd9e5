"""Closest approach of two tracks: the formula of solid geometry, and honest errors."""

import dataclasses
import math

import pytest
import torch

from detopt.reconstruction import LineFit, closest_approach

REFERENCE = 0.7  # m


def lines(n, rng, scatter=0.02, offset=1e-3, dtype=torch.float64):
    """Tracks that nearly meet at a vertex, with errors as of panels above and below."""

    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=dtype)

    slope = 0.4 * normal(2, n)
    height = 0.2 * normal(n)
    vertex = normal(2, n)
    found = []
    for sign, arm in ((1, -0.3), (-1, 0.35)):
        b = slope + sign * scatter * normal(2, n) / 2
        found.append(
            LineFit(
                position=vertex - b * height + offset * normal(2, n),
                slope=b,
                arm=torch.full((n,), arm, dtype=dtype),
                centroid_variance=torch.full((n,), 2.5e-9, dtype=dtype),
                slope_variance=torch.full((n,), 5e-7, dtype=dtype),
            )
        )
    return found


def in_space(above, below):
    """Middle of the shortest connection of two lines p + s u, by the general formula."""
    one = torch.ones_like(above.arm)
    zero = torch.zeros_like(one)
    u, v = (torch.stack([*track.slope, one]) for track in (above, below))
    p, q = (torch.stack([*track.position, zero]) for track in (above, below))
    w = p - q
    a, b, c = (u * u).sum(0), (u * v).sum(0), (v * v).sum(0)
    d, e = (u * w).sum(0), (v * w).sum(0)
    s = (b * e - c * d) / (a * c - b * b)
    t = (a * e - b * d) / (a * c - b * b)
    return (p + s * u + q + t * v) / 2


@pytest.mark.parametrize("scatter", [2e-3, 0.02, 0.2])
def test_height_is_that_of_the_general_formula(rng, scatter):
    above, below = lines(300, rng, scatter)
    expected = in_space(above, below)
    found = closest_approach(above, below, REFERENCE)
    distance = (found.height - REFERENCE - expected[2]).abs()
    floor = 1e-10 / found.angle_squared  # what keeps parallel tracks finite
    assert bool((distance <= expected[2].abs() * floor + 1e-12).all())


def test_position_is_the_mean_of_both_tracks_at_that_height(rng):
    above, below = lines(300, rng, scatter=0.2)
    found = closest_approach(above, below, REFERENCE)
    h = found.height - REFERENCE
    expected = (above.position + h * above.slope + below.position + h * below.slope) / 2
    torch.testing.assert_close(found.position, expected)
    # the middle of the shortest connection lies a scattering angle times the offset beside it
    torch.testing.assert_close(found.position, in_space(above, below)[:2], rtol=0, atol=5e-4)


def test_angle_is_that_of_the_directions(rng):
    above, below = lines(300, rng)
    one = torch.ones(300, dtype=torch.float64)
    u, v = (torch.stack([*track.slope, one]) for track in (above, below))
    sine = torch.linalg.cross(u, v, dim=0).norm(dim=0) / (u.norm(dim=0) * v.norm(dim=0))
    found = closest_approach(above, below, REFERENCE).angle_squared
    torch.testing.assert_close(found, sine.asin().square(), rtol=3e-3, atol=1e-9)


def test_tracks_that_meet_give_their_vertex():  # by hand
    zero = torch.zeros(1, dtype=torch.float64)
    tracks = [
        LineFit(p, b, zero, zero, zero)
        for p, b in (
            (torch.tensor([[0.02], [0.0]]).double(), torch.tensor([[0.1], [0.0]]).double()),
            (torch.tensor([[0.04], [0.0]]).double(), torch.tensor([[0.2], [0.0]]).double()),
        )
    ]
    found = closest_approach(*tracks, reference=0.7)
    assert found.height.item() == pytest.approx(0.5, abs=1e-6)
    assert found.position[:, 0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found.angle_squared.item() == pytest.approx(
        (math.atan(0.2) - math.atan(0.1)) ** 2, rel=2e-3
    )


def propagated(above, below, quantity):
    """Variance by the Jacobian in all eight track parameters, of the exact or our formula."""
    tracks = (above, below)
    inputs = [x.clone().requires_grad_() for t in tracks for x in (t.position, t.slope)]

    def moved():
        for track, (position, slope) in zip(tracks, (inputs[:2], inputs[2:]), strict=True):
            yield dataclasses.replace(track, position=position, slope=slope)

    gradients = torch.autograd.grad(quantity(*moved()).sum(), inputs)
    variance = 0
    for track, dp, db in zip(tracks, gradients[::2], gradients[1::2], strict=True):
        # position = centroid + arm * slope: its errors are those of both
        along = track.arm * dp + db
        variance = variance + (
            track.centroid_variance * dp.square() + track.slope_variance * along.square()
        ).sum(0)
    return variance


@pytest.mark.parametrize("scatter", [5e-3, 0.02])
def test_variance_of_the_height_is_that_of_the_full_jacobian(rng, scatter):
    above, below = lines(400, rng, scatter, offset=1e-4)
    expected = propagated(above, below, lambda a, b: in_space(a, b)[2])
    found = closest_approach(above, below, REFERENCE).height_variance
    angle = closest_approach(above, below, REFERENCE).angle_squared.sqrt()
    clear = angle > 2e-3  # else the floor for parallel tracks counts
    ratio = (found / expected)[clear].sqrt()
    assert ratio.median().item() == pytest.approx(1.0, abs=2e-3)
    assert (ratio - 1).abs().quantile(0.99) < 0.01


def test_heights_of_a_toy_scatter_as_claimed(rng):
    n = 20_000
    (above, below) = lines(1, rng, scatter=0.03, offset=0.0)

    def measured(track):
        def noise(variance):
            return variance.sqrt() * torch.randn(2, n, generator=rng, dtype=torch.float64)

        tilt = noise(track.slope_variance)
        shift = noise(track.centroid_variance) + track.arm * tilt
        flat = {
            name: getattr(track, name).expand(n)
            for name in ("arm", "centroid_variance", "slope_variance")
        }
        return LineFit(track.position + shift, track.slope + tilt, **flat)

    true = closest_approach(above, below, REFERENCE)
    found = closest_approach(measured(above), measured(below), REFERENCE)
    middle = found.height.quantile(torch.tensor([0.1587, 0.8413]).double()).diff() / 2
    assert middle.item() == pytest.approx(true.height_variance.sqrt().item(), rel=0.03)
    assert found.position.std(dim=1)[0].item() == pytest.approx(
        true.position_variance[0, 0].sqrt().item(), rel=0.05
    )
    excess = found.angle_squared.mean() - true.angle_squared
    error = found.angle_squared.std() / n**0.5
    assert excess.item() == pytest.approx(true.angle_noise.item(), abs=4 * error.item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parallel_tracks_are_finite_and_uncertain(rng, dtype):
    above, _ = lines(50, rng, dtype=dtype)
    below = dataclasses.replace(above, position=above.position + 1e-3)
    leaf = above.slope.clone().requires_grad_()
    found = closest_approach(dataclasses.replace(above, slope=leaf), below, REFERENCE)
    assert all(bool(torch.isfinite(field).all()) for field in vars(found).values())
    assert found.height_variance.min().sqrt() > 1.0  # m
    sum(field.sum() for field in vars(found).values()).backward()
    assert bool(torch.isfinite(leaf.grad).all())


def test_identical_tracks_are_finite(rng):
    above, _ = lines(5, rng, dtype=torch.float32)
    found = closest_approach(above, above, REFERENCE)
    assert all(bool(torch.isfinite(field).all()) for field in vars(found).values())


def test_order_of_the_tracks_does_not_matter(rng):
    above, below = lines(50, rng)
    one, other = (closest_approach(*pair, REFERENCE) for pair in ((above, below), (below, above)))
    torch.testing.assert_close(vars(one), vars(other))


def test_rotation_about_the_vertical_does_not_matter(rng):
    def turned(track):
        x, y = track.position
        bx, by = track.slope
        return dataclasses.replace(
            track, position=torch.stack([-y, x]), slope=torch.stack([-by, bx])
        )

    above, below = lines(50, rng)
    found = closest_approach(above, below, REFERENCE)
    after = closest_approach(turned(above), turned(below), REFERENCE)
    torch.testing.assert_close(after.height, found.height)
    torch.testing.assert_close(after.height_variance, found.height_variance)
    torch.testing.assert_close(after.position_variance, found.position_variance.flip(0))


def test_float32_is_as_good_as_its_error(rng):
    above, below = lines(200, rng)
    single = [
        dataclasses.replace(t, **{k: v.float() for k, v in vars(t).items()}) for t in (above, below)
    ]
    exact = closest_approach(above, below, REFERENCE)
    found = closest_approach(*single, REFERENCE)
    pull = (found.height - exact.height) / exact.height_variance.sqrt()
    assert pull.abs().max() < 0.05


def test_gradient_matches_finite_differences(rng):
    tracks = lines(3, rng, scatter=0.3, offset=0.1)
    inputs = [x.clone() for track in tracks for x in vars(track).values()]
    inputs = [(x * 1e3 if x.max() < 1e-5 else x).requires_grad_() for x in inputs]

    def approach(*fields):
        found = closest_approach(LineFit(*fields[:5]), LineFit(*fields[5:]), REFERENCE)
        return tuple(vars(found).values())

    assert torch.autograd.gradcheck(approach, inputs, rtol=1e-4, atol=1e-6)
