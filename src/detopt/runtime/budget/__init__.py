"""Compute budgets: prices, a ledger that holds several runs to one limit, and providers' bills."""

from detopt.runtime.budget.amounts import Amounts, Limits
from detopt.runtime.budget.config import ComputeBudget
from detopt.runtime.budget.estimate import Estimator
from detopt.runtime.budget.ledger import BudgetLedger, BudgetState
from detopt.runtime.budget.overview import Overview, overview
from detopt.runtime.budget.prices import EXAMPLE, MachinePrice, Prices, Rate, load_prices
from detopt.runtime.budget.rows import Line, Reservation

__all__ = [
    "EXAMPLE",
    "Amounts",
    "BudgetLedger",
    "BudgetState",
    "ComputeBudget",
    "Estimator",
    "Limits",
    "Line",
    "MachinePrice",
    "Overview",
    "Prices",
    "Rate",
    "Reservation",
    "load_prices",
    "overview",
]
