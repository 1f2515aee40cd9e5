"""Design spaces: parameters behind one vector, and what may be frozen."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import (
    Categorical,
    Continuous,
    Design,
    DesignSpace,
    FixedSum,
    Integer,
    Interval,
    Ordered,
    Real,
)
from detopt.errors import DesignError, NotFoundError

GAP = Continuous("gap", 0.3, Interval(0.1, 1.0), unit="m", group="geometry")
HEIGHTS = Continuous(
    "heights", [0.8, 0.6], Ordered(0.5, 0.9, 0.01, descending=True), group="geometry"
)
CENTERS = Continuous("centers", [[0.1, 0.2], [0.3, 0.4]], Real())
COSTS = Continuous("costs", [1.0, 2.0, 3.0], FixedSum(6.0), group="money")
LAYERS = Integer("layers", 3, 1, 5)
GLUE = Categorical("glue", ("epoxy", "tape", "none"), "tape", group="money")


@pytest.fixture
def continuous():
    return DesignSpace([GAP, HEIGHTS, CENTERS, COSTS])


@pytest.fixture
def mixed():
    return DesignSpace([GAP, LAYERS, GLUE])


def thetas(n, limit=1e6):
    return st.lists(st.floats(-limit, limit), min_size=n, max_size=n)


def values_of(design):
    return {name: value.tolist() for name, value in design.items()}


# --- theta and designs


def test_start_survives_the_round_trip(continuous):
    design = continuous.design(continuous.theta(continuous.start))
    for_both = zip(design.values(), continuous.start.values(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12) for a, b in for_both)


def test_values_have_the_shapes_of_their_starts(continuous):
    design = continuous.design(torch.zeros(continuous.n_free))
    assert [tuple(v.shape) for v in design.values()] == [(), (2,), (2, 2), (3,)]


def test_labels_name_every_entry_of_theta(continuous):
    assert len(continuous.labels) == continuous.n_free == 10
    assert continuous.labels[:4] == ["gap", "heights[0]", "heights[1]", "centers[0]"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=30)
@given(theta=thetas(10))
def test_every_theta_is_a_design_that_obeys_all_constraints(dtype, theta):
    space = DesignSpace([GAP, HEIGHTS, CENTERS, COSTS])
    space.check(space.design(torch.tensor(theta, dtype=dtype)))


@settings(max_examples=30)
@given(theta=thetas(5))
def test_every_theta_is_a_design_with_allowed_choices(theta):
    space = DesignSpace([GAP, LAYERS, GLUE])
    space.check(space.design(torch.tensor(theta, dtype=torch.float64)))


def test_batch_of_thetas_is_a_batch_of_designs(continuous, rng):
    frozen = continuous.freeze("gap", "centers")
    thetas = torch.randn(2, 3, frozen.n_free, generator=rng)
    design = frozen.design(thetas)
    assert [tuple(v.shape) for v in design.values()] == [(2, 3), (2, 3, 2), (2, 3, 2, 2), (2, 3, 3)]
    one = frozen.design(thetas[1, 2])
    assert all(torch.allclose(design[name][1, 2], one[name]) for name in one)


def test_gradient_of_the_design_matches_finite_differences(continuous, rng):
    theta = torch.randn(10, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: tuple(continuous.design(t).values()), theta)


def test_theta_of_the_wrong_length_is_refused(continuous):
    with pytest.raises(DesignError, match="must have 10 entries, got 9"):
        continuous.design(torch.zeros(9))


def with_value(space, name, value):
    return Design({**space.start, name: torch.tensor(value, dtype=torch.float64)})


@pytest.mark.parametrize(
    ("name", "value"),
    [("gap", 0.1), ("gap", 1.0), ("heights", [0.9, 0.5]), ("costs", [0.0, 0.0, 6.0])],
)
def test_design_on_a_closed_bound_is_accepted_but_has_no_theta(continuous, name, value):
    design = with_value(continuous, name, value)
    continuous.check(design)
    with pytest.raises(DesignError, match=rf"`{name}.*lies on a bound"):
        continuous.theta(design)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gap", 1.01, r"`gap` \[m\] must be <= 1, got 1.01"),
        ("gap", math.nan, "`gap` .* must be finite"),
        ("gap", [0.3], r"must have the shape \(\), got \(1,\)"),
        ("heights", [0.6, 0.8], "`heights` must fall by at least 0.01"),
        ("costs", [1.0, 2.0, 4.0], "must add up to 6, got 7"),
        ("centers", [0.0, 0.0, 0.0, 0.0], r"must have the shape \(2, 2\)"),
    ],
)
def test_design_that_breaks_a_constraint_is_refused(continuous, name, value, message):
    with pytest.raises(DesignError, match=message):
        continuous.check(with_value(continuous, name, value))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers", 2.5, "must be one whole number, got 2.5"),
        ("layers", math.nan, "must be one whole number, got nan"),
        ("layers", math.inf, "must be one whole number, got inf"),
        ("layers", [3.0], "must be one whole number"),
        ("layers", 6.0, "must lie between 1 and 5, got 6"),
        ("glue", 3.0, "must be an index from 0 to 2"),
        ("glue", 0.5, "must be an index from 0 to 2"),
        ("glue", math.nan, "must be an index from 0 to 2"),
    ],
)
def test_choice_that_does_not_exist_is_refused(mixed, name, value, message):
    with pytest.raises(DesignError, match=message):
        mixed.check(with_value(mixed, name, value))


def test_design_with_a_misspelt_parameter_is_refused(continuous):
    with pytest.raises(DesignError, match="unknown: gapp"):
        continuous.check(with_value(continuous, "gapp", 0.3))


def test_design_that_misses_a_parameter_is_refused(continuous):
    partial = {name: value for name, value in continuous.start.items() if name != "costs"}
    with pytest.raises(DesignError, match="missing: costs"):
        continuous.check(partial)


# --- parameters


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Continuous("gap", 0.1, Interval(0.1, 1.0)), "start of `gap` lies on a bound"),
        (lambda: Continuous("gap", 2.0, Interval(0.1, 1.0)), "start of `gap` must be <= 1, got 2"),
        (lambda: Continuous("gap", math.nan, Real()), "start of `gap` must be finite"),
        (lambda: Continuous("gap", [], Interval(0.1, 1.0)), "start of `gap` must not be empty"),
        (lambda: Continuous("my gap", 0.3, Real()), "must be a Python identifier, got 'my gap'"),
        (
            lambda: Continuous("z", [0.5, 0.7], Ordered(0.0, 1.0, 0.2)),
            "start of `z` lies on a bound",
        ),
        (lambda: Continuous("z", [0.5] * 4, Ordered(0.0, 1.0, 0.4)), "do not fit"),
        (lambda: Integer("n", 6, 1, 5), "start of `n` must lie between 1 and 5, got 6"),
        (lambda: Categorical("glue", ("a", "b"), "c"), "must be one of a, b; got 'c'"),
        (lambda: Categorical("glue", ("a", "a"), "a"), "choices of `glue` must differ"),
    ],
)
def test_unusable_parameter_is_refused(make, message):
    with pytest.raises(DesignError, match=message):
        make()


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_integer_survives_the_round_trip(number):
    value = torch.tensor(float(number), dtype=torch.float64)
    assert LAYERS.decode(LAYERS.encode(value)).item() == number


@pytest.mark.parametrize("index", [0, 1, 2])
def test_category_survives_the_round_trip(index):
    value = torch.tensor(float(index), dtype=torch.float64)
    assert GLUE.decode(GLUE.encode(value)).item() == index


def test_discrete_values_have_no_gradient(mixed):
    theta = torch.zeros(5, requires_grad=True)
    design = mixed.design(theta)
    assert [name for name in design if design[name].requires_grad] == ["gap"]


# --- freezing


@pytest.mark.parametrize(
    ("names", "free"),
    [
        (["gap"], ["heights", "centers", "costs"]),
        (["geometry"], ["centers", "costs"]),
        (["geometry", "money"], ["centers"]),
        (["gap", "geometry"], ["centers", "costs"]),
        ([], ["gap", "heights", "centers", "costs"]),
    ],
)
def test_freezing_takes_names_and_groups(continuous, names, free):
    frozen = continuous.freeze(*names)
    assert [parameter.name for parameter in frozen.free] == free
    assert values_of(frozen.start) == values_of(continuous.start)


def test_frozen_value_does_not_move(continuous):
    frozen = continuous.freeze("costs")
    design = frozen.design(torch.full((frozen.n_free,), 0.7, dtype=torch.float64))
    assert design["costs"].tolist() == [1.0, 2.0, 3.0]


def test_unfreezing_undoes_freezing(continuous):
    frozen = continuous.freeze("gap", "heights", "costs")
    assert [p.name for p in frozen.unfreeze("geometry").free] == ["gap", "heights", "centers"]
    assert [p.name for p in frozen.unfreeze("costs").free] == ["centers", "costs"]


def test_freezing_the_discrete_parameters_leaves_a_continuous_space(mixed):
    assert mixed.has_discrete
    assert not mixed.freeze("layers", "glue").has_discrete


@pytest.mark.parametrize("method", ["freeze", "unfreeze"])
@pytest.mark.parametrize("name", ["gapp", "", "GEOMETRY"])
def test_misspelt_name_is_refused(continuous, method, name):
    with pytest.raises(NotFoundError, match=f"No parameter or group `{name}`.*gap.*money"):
        getattr(continuous, method)(name)


def test_freezing_everything_is_refused(continuous):
    with pytest.raises(DesignError, match="nothing is left"):
        continuous.freeze("geometry", "money", "centers")


def test_frozen_value_may_lie_on_a_closed_bound():
    space = DesignSpace([GAP, CENTERS], {"gap": torch.tensor(1.0)})
    assert space.design(torch.zeros(4))["gap"].item() == 1.0


def test_frozen_value_that_breaks_its_domain_is_refused():
    with pytest.raises(DesignError, match="must be <= 1, got 3"):
        DesignSpace([GAP, CENTERS], {"gap": torch.tensor(3.0)})


def test_name_that_is_used_twice_is_refused():
    with pytest.raises(DesignError, match="must differ, got gap, gap"):
        DesignSpace([GAP, GAP])


# --- designs as values


@pytest.mark.parametrize("copied", [lambda d: pickle.loads(pickle.dumps(d)), copy.deepcopy])
def test_design_survives_a_copy(continuous, copied):
    assert values_of(copied(continuous.start)) == values_of(continuous.start)


def test_space_survives_pickling(mixed):
    loaded = pickle.loads(pickle.dumps(mixed.freeze("layers")))
    assert loaded.labels == mixed.freeze("layers").labels
    assert loaded.parameters == mixed.parameters


def test_design_cannot_be_changed(continuous):
    with pytest.raises(TypeError, match="does not support item assignment"):
        continuous.start["gap"] = torch.tensor(0.5)


def test_design_without_the_parameter_says_what_it_has(continuous):
    with pytest.raises(NotFoundError, match=r"no `gapp`\. It has: gap, heights, centers, costs"):
        continuous.start["gapp"]


def test_design_answers_whether_it_has_a_parameter(continuous):
    assert "gap" in continuous.start
    assert "gapp" not in continuous.start


def test_numbers_of_a_design_are_plain(continuous):
    numbers = continuous.start.numbers()
    assert numbers["gap"] == 0.3
    assert numbers["centers"] == [[0.1, 0.2], [0.3, 0.4]]


def test_detached_design_has_no_graph(continuous):
    design = continuous.design(torch.zeros(10, requires_grad=True))
    assert design["gap"].requires_grad
    assert not design.detach()["gap"].requires_grad
    assert design.to(torch.float64)["gap"].dtype is torch.float64


# --- tasks of a study


@pytest.mark.parametrize(
    ("names", "free"),
    [
        (["gap"], ["gap"]),
        (["geometry"], ["gap", "heights"]),
        (["c*"], ["centers", "costs"]),
        (["*s", "gap"], ["gap", "heights", "centers", "costs"]),
        (["geo*", "cost?"], ["gap", "heights", "costs"]),
        (["[hc]*s"], ["heights", "centers", "costs"]),
    ],
)
def test_only_what_is_named_is_free(continuous, names, free):
    space = continuous.free_only(*names)
    assert [p.name for p in space.free] == free
    assert values_of(space.start) == values_of(continuous.start)
    assert [p.name for p in continuous.freeze("gap", "costs").free_only(*names).free] == free


@pytest.mark.parametrize("method", ["freeze", "unfreeze", "free_only"])
@pytest.mark.parametrize("name", ["x*", "GAP*", "gap??"])
def test_a_pattern_that_fits_nothing_is_refused(continuous, method, name):
    with pytest.raises(NotFoundError, match=r"There are: gap, heights, centers, costs, geometry"):
        getattr(continuous, method)(name)


def test_nothing_to_free_is_refused(continuous):
    with pytest.raises(DesignError, match="nothing is left"):
        continuous.free_only()


@pytest.mark.parametrize("frozen", [[], ["gap"], ["costs", "geometry"]])
def test_a_space_starts_at_another_design(continuous, frozen):
    theta = continuous.theta(continuous.start) + 0.3
    design = continuous.design(theta)
    space = continuous.freeze(*frozen) if frozen else continuous
    moved = space.starting_at(design)
    assert values_of(moved.start) == values_of(design)
    assert [p.name for p in moved.free] == [p.name for p in space.free]
    torch.testing.assert_close(
        torch.cat([v.reshape(-1) for v in moved.design(moved.theta(moved.start)).values()]),
        torch.cat([v.reshape(-1) for v in design.values()]),
        rtol=1e-12,
        atol=0.0,
    )


def test_discrete_parameters_start_elsewhere(mixed):
    values = {"gap": 0.2, "layers": 5.0, "glue": 2.0}
    moved = mixed.starting_at(Design({name: torch.tensor(v) for name, v in values.items()}))
    assert moved["layers"].start == 5
    assert moved["glue"].start == "none"
    assert values_of(moved.start)["glue"] == 2.0


def test_a_start_outside_or_on_a_bound_is_refused(continuous):
    start = dict(continuous.start)
    with pytest.raises(DesignError, match="gap"):
        continuous.starting_at({**start, "gap": torch.tensor(1.5)})
    edge = {**start, "gap": torch.tensor(1.0, dtype=torch.float64)}
    with pytest.raises(DesignError, match="lies on a bound"):
        continuous.starting_at(edge)
    assert continuous.freeze("gap").starting_at(edge).start["gap"].item() == 1.0


def test_a_start_of_ragged_rows_is_refused():
    with pytest.raises(DesignError, match=r"`x` must be a number, or an array .* the same length"):
        Continuous("x", [[1.0, 2.0], [3.0]], Real())
