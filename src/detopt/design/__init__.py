"""The design theta: parameters, domains, limits, the space of all designs, costs."""

from detopt.design.costs import budget_term
from detopt.design.domains import Domain, FixedSum, Interval, Ordered, Real
from detopt.design.limits import Limit
from detopt.design.parameters import Categorical, Continuous, Integer, Parameter
from detopt.design.space import Design, DesignSpace

__all__ = [
    "Categorical",
    "Continuous",
    "Design",
    "DesignSpace",
    "Domain",
    "FixedSum",
    "Integer",
    "Interval",
    "Limit",
    "Ordered",
    "Parameter",
    "Real",
    "budget_term",
]
