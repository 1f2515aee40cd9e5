r"""Significances, CLs values, limits and intervals in the limit of large samples.

All follow from profile likelihood ratios of observed and of Asimov data, and each carries a
gradient with respect to templates and data, by implicit differentiation of the fits. With the
parameter of interest :math:`\mu`:

.. math::
    t_\mu = 2 \left[\min_\theta f(\mu, \theta) - \min_{\mu', \theta} f(\mu', \theta)\right],
        \qquad f = -\ln L

References:
    G. Cowan, K. Cranmer, E. Gross, O. Vitells, Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727.
    A. L. Read, J. Phys. G 28 (2002) 2693 (CLs).
"""

__all__ = [
    "HypothesisTest",
    "UpperLimit",
    "expected_significance",
    "hypothesis_test",
    "likelihood_ratio",
    "q0",
    "qmu",
    "qmu_tilde",
    "significance",
    "upper_limit",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference._roots import bracketed_root
from detopt.inference.fits import Fit, fit
from detopt.inference.histfactory import HistFactoryModel
from detopt.inference.implicit import attach_root

BANDS = (2.0, 1.0, 0.0, -1.0, -2.0)  # shift of the statistic for expected values at -2 ... 2 sigma


@dataclass(frozen=True)
class HypothesisTest:
    """Test of a signal strength.

    Args:
        cls: Observed CLs.
        cls_b: p-value of signal and background, CLs+b.
        cl_b: p-value of the background alone, CLb.
        expected: CLs expected without a signal, at -2, -1, 0, 1 and 2 standard deviations.
    """

    cls: Float[Tensor, "*batch"]
    cls_b: Float[Tensor, "*batch"]
    cl_b: Float[Tensor, "*batch"]
    expected: Float[Tensor, "*batch 5"]


@dataclass(frozen=True)
class UpperLimit:
    """Upper limits on the signal strength.

    Args:
        observed: From the data.
        expected: Without a signal, at -2, -1, 0, 1 and 2 standard deviations.
    """

    observed: Float[Tensor, "*batch"]
    expected: Float[Tensor, "*batch 5"]


def likelihood_ratio(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], strength: Tensor | float
) -> Float[Tensor, "*batch"]:
    r"""The statistic :math:`t_\mu`, with nuisance parameters profiled.

    Args:
        model: Model or models.
        data: Data of each member.
        strength: Value :math:`\mu` of the parameter of interest.

    Returns:
        Statistic, >= 0.

    Raises:
        DomainError: A fit fails, see `detopt.inference.fits.fit`.

    Note:
        Equation 8 of arXiv:1007.1727; equation 11 where the parameter of interest is bounded at 0.
        Differentiable in templates, data and strength.
    """
    return _ratio(model, data, strength)[0]


def q0(model: HistFactoryModel, data: Float[Tensor, "*#batch data"]) -> Float[Tensor, "*batch"]:
    r"""Statistic :math:`q_0` for a discovery: that the strength is 0.

    .. math::
        q_0 = t_0 \;\;(\hat\mu \ge 0), \qquad q_0 = 0 \;\;(\hat\mu < 0)

    Args:
        model: Model or models.
        data: Data of each member.

    Returns:
        Statistic, >= 0.

    Raises:
        DomainError: A fit fails, see `detopt.inference.fits.fit`.

    Note:
        Equation 12 of arXiv:1007.1727. Differentiable in templates and data.
    """
    ratio, free = _ratio(model, data, 0.0)
    best = free.parameters.detach()[..., model.index(model.interest)]
    return torch.where(best < 0, 0.0, ratio)


def qmu(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], strength: Tensor | float
) -> Float[Tensor, "*batch"]:
    r"""Statistic :math:`q_\mu` for an upper limit, with strengths below 0 allowed.

    .. math::
        q_\mu = t_\mu \;\;(\hat\mu \le \mu), \qquad q_\mu = 0 \;\;(\hat\mu > \mu)

    Args:
        model: Model or models, with a lower bound of the parameter of interest below 0.
        data: Data of each member.
        strength: Value :math:`\mu`.

    Returns:
        Statistic, >= 0.

    Raises:
        DomainError: The parameter of interest is bounded at 0 or above, or a fit fails.

    Note:
        Equation 14 of arXiv:1007.1727. Differentiable in templates, data and strength.
    """
    low = float(model.bounds[0][model.index(model.interest)])
    if low >= 0:
        raise DomainError(
            f"`{model.interest}` is bounded at {low:g}: this statistic needs values below 0. "
            "Use `qmu_tilde`, or `model.with_bounds`."
        )
    return _one_sided(model, data, strength)


def qmu_tilde(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], strength: Tensor | float
) -> Float[Tensor, "*batch"]:
    r"""Statistic :math:`\tilde q_\mu` for an upper limit on a strength that is not negative.

    As :math:`q_\mu`, with :math:`\hat\mu` the most likely value that is not below 0.

    Args:
        model: Model or models; a lower bound below 0 is raised to 0.
        data: Data of each member.
        strength: Value :math:`\mu`, >= 0.

    Returns:
        Statistic, >= 0.

    Raises:
        DomainError: A fit fails, see `detopt.inference.fits.fit`.

    Note:
        Equation 16 of arXiv:1007.1727. Differentiable in templates, data and strength.
    """
    return _one_sided(_physical(model), data, strength)


def significance(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"]
) -> Float[Tensor, "*batch"]:
    r"""Significance of a signal, :math:`\sqrt{q_0}` standard deviations.

    Args:
        model: Model or models.
        data: Data of each member.

    Raises:
        DomainError: A fit fails, see `detopt.inference.fits.fit`.

    Note:
        Equation 53 of arXiv:1007.1727. Differentiable where it is not 0; there the gradient is 0.
    """
    return _root(q0(model, data))


def expected_significance(
    model: HistFactoryModel, strength: Tensor | float = 1.0
) -> Float[Tensor, "*batch"]:
    r"""Median significance of a signal of a given strength: that of its Asimov data.

    For one bin without systematic uncertainties it is
    :math:`\sqrt{2[(s + b) \ln(1 + s/b) - s]}`.

    Args:
        model: Model or models; nuisance parameters are at their start.
        strength: Strength of the signal in the Asimov data; for one < 0 the significance is 0.

    Raises:
        DomainError: A fit fails, see `detopt.inference.fits.fit`.

    Note:
        Section 4.3 of arXiv:1007.1727. The Asimov data follow the templates, and so does the
        gradient: to cut it there would keep the value and ruin the gradient. Infinite, with a
        gradient of 0, where a bin has signal and no background.
    """
    point = _with_interest(model, torch.as_tensor(strength, dtype=model.start.dtype))
    asimov = model.expected_data(point)
    background = fit(model, asimov, {model.interest: 0.0}, start=model.start)
    best = model.negative_log_likelihood(point, asimov)
    ratio = 2 * (background.value - best).clamp(min=0)
    return _root(torch.where(point[..., model.index(model.interest)] < 0, 0.0, ratio))


def hypothesis_test(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], strength: Tensor | float
) -> HypothesisTest:
    r"""Observed and expected CLs of a signal strength, from :math:`\tilde q_\mu`.

    .. math::
        \mathrm{CL}_s = \frac{1 - \Phi(t + \sqrt{q_A})}{1 - \Phi(t)}, \qquad
        t = \sqrt{\tilde q_\mu} - \sqrt{q_A} \;\;(\tilde q_\mu \le q_A), \quad
        t = \frac{\tilde q_\mu - q_A}{2 \sqrt{q_A}} \;\;\text{otherwise}

    where :math:`q_A` is the statistic of the background's Asimov data, with nuisance parameters
    fitted to the data.

    Args:
        model: Model or models; a lower bound of the parameter of interest below 0 is raised to 0.
        data: Data of each member.
        strength: Strength :math:`\mu`, > 0.

    Raises:
        DomainError: A strength is not above 0, or a fit fails, see `detopt.inference.fits.fit`.

    Note:
        Equations 59 to 67 of arXiv:1007.1727. Differentiable in templates, data and strength.
    """
    value = torch.as_tensor(strength, dtype=data.dtype, device=data.device)
    if not bool((value > 0).all()):
        lowest = float(value.detach().min())
        raise DomainError(
            f"`strength` must be > 0, got {lowest:g}. Test a signal that adds events."
        )
    scan = _Scan(_physical(model), data)
    value = value.expand(torch.broadcast_shapes(value.shape, scan.batch)).unsqueeze(0)
    statistic, asimov = scan.statistics(value, value)
    root = _root(asimov[0])
    shift = _observed_shift(statistic[0], asimov[0])
    bands = shift.new_tensor(BANDS)
    return HypothesisTest(
        cls=_log_cls(shift, root).exp(),
        cls_b=torch.special.ndtr(-(shift + root)),
        cl_b=torch.special.ndtr(-shift),
        expected=_log_cls(bands, root.unsqueeze(-1)).exp(),
    )


def upper_limit(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], level: float = 0.05
) -> UpperLimit:
    r"""Upper limits: the strengths whose CLs is `level`, observed and expected.

    Args:
        model: Model or models; a lower bound of the parameter of interest below 0 is raised to 0.
        data: Data of each member.
        level: One minus the confidence level.

    Returns:
        Observed limit, and those expected without a signal.

    Raises:
        DomainError: `level` is not between 0 and 1, a limit lies above the upper bound of the
            parameter of interest, or a fit fails.

    Note:
        Differentiable in templates and data: the limits are roots, whose derivative is implicit.
    """
    if not 0 < level < 1:
        raise DomainError(f"`level` must be between 0 and 1, got {level}. Try 0.05.")
    physical = _physical(model)
    detached = physical.with_inputs(*[tensor.detach() for tensor in physical.inputs()])
    with torch.no_grad():
        scan = _Scan(detached, data.detach())
    highest = float(model.bounds[1][model.index(model.interest)])
    low = data.new_zeros(*scan.batch, 6)
    high = torch.full_like(low, highest)
    with torch.no_grad():
        beyond = (scan.distance(high, level) < 0).reshape(-1, 6).any(dim=0)
    if bool(beyond.any()):
        what = "observed" if bool(beyond[0]) else "expected"
        raise DomainError(
            f"The {what} limit lies above the bound {highest:g} of `{model.interest}`. Widen it "
            "with `model.with_bounds`, or scale the signal."
        )
    found = bracketed_root(lambda value: scan.distance(value, level), low, high)

    def residual(value: Tensor, data: Tensor, *inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            return _Scan(physical.with_inputs(*inputs), data).distance(value, level)

    limit = attach_root(residual, found, data, *physical.inputs())
    return UpperLimit(observed=limit[..., 0], expected=limit[..., 1:])


class _Scan:
    """Statistics of observed and of Asimov data at many strengths."""

    def __init__(self, model: HistFactoryModel, data: Tensor) -> None:
        self.model, self.data = model, data
        self.index = model.index(model.interest)
        self.free = fit(model, data)
        self.best = self.free.parameters.detach()[..., self.index]
        background = fit(model, data, {model.interest: 0.0})
        self.asimov = model.expected_data(background.parameters)
        # data that equal the expectation of a point have their minimum there
        self.asimov_value = model.negative_log_likelihood(background.parameters, self.asimov)
        self.batch = self.free.value.shape

    def statistics(
        self, observed: Float[Tensor, "m *batch"], asimov: Float[Tensor, "k *batch"]
    ) -> tuple[Float[Tensor, "m *batch"], Float[Tensor, "k *batch"]]:
        """One-sided statistic of the data and of the Asimov data at several strengths."""
        m, batch = len(observed), observed.shape[1:]
        length = self.asimov.shape[-1]
        both = torch.cat(
            [
                self.data.expand(m, *batch, length),
                self.asimov.expand(len(asimov), *batch, length),
            ]
        )
        strengths = torch.cat([observed, asimov])
        values = fit(self.model, both, {self.model.interest: strengths}).value
        ratio = 2 * (values[:m] - self.free.value).clamp(min=0)
        expected = 2 * (values[m:] - self.asimov_value).clamp(min=0)
        return torch.where(self.best > observed, 0.0, ratio), expected

    def distance(self, strengths: Float[Tensor, "*batch 6"], level: float) -> Tensor:
        """Rises through zero at the observed limit and at the five expected ones."""
        rows = strengths.movedim(-1, 0)
        statistic, asimov = self.statistics(rows[:1], rows)
        root = _root(asimov)
        observed = _log_cls(_observed_shift(statistic[0], asimov[0]), root[0])
        wanted = strengths.new_tensor(level)
        bands = strengths.new_tensor(BANDS)
        needed = -torch.special.ndtri(wanted * torch.special.ndtr(-bands)) - bands
        first = _root(-observed) - _root(-wanted.log())
        return torch.cat([first.unsqueeze(-1), root[1:].movedim(0, -1) - needed], dim=-1)


def _ratio(model: HistFactoryModel, data: Tensor, strength: Tensor | float) -> tuple[Tensor, Fit]:
    free = fit(model, data)
    fixed = fit(model, data, {model.interest: strength})
    return 2 * (fixed.value - free.value).clamp(min=0), free


def _one_sided(model: HistFactoryModel, data: Tensor, strength: Tensor | float) -> Tensor:
    ratio, free = _ratio(model, data, strength)
    best = free.parameters.detach()[..., model.index(model.interest)]
    return torch.where(best > torch.as_tensor(strength), 0.0, ratio)


def _physical(model: HistFactoryModel) -> HistFactoryModel:
    """The model with a parameter of interest that is not negative."""
    low, high = (float(bound[model.index(model.interest)]) for bound in model.bounds)
    return model if low == 0 else model.with_bounds(model.interest, max(low, 0.0), high)


def _with_interest(model: HistFactoryModel, strength: Tensor) -> Tensor:
    """The start of the model, with another parameter of interest."""
    index = model.index(model.interest)
    start = model.start.expand(*strength.shape, -1)
    return torch.cat([start[..., :index], strength.unsqueeze(-1), start[..., index + 1 :]], dim=-1)


def _root(value: Tensor) -> Tensor:
    """Square root whose gradient at zero is zero rather than infinite."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1.0).sqrt(), 0.0)


def _observed_shift(statistic: Tensor, asimov: Tensor) -> Tensor:
    root = _root(asimov)
    safe = torch.where(root > 0, root, 1.0)
    beyond = (statistic - asimov) / (2 * safe)
    return torch.where(statistic <= asimov, _root(statistic) - root, beyond)


def _log_cls(shift: Tensor, root: Tensor) -> Tensor:
    both: Tensor = torch.special.log_ndtr(-(shift + root))
    background: Tensor = torch.special.log_ndtr(-shift)
    return both - background
