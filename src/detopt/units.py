"""Units: what a number means, and how a user writes it.

Inside the package every quantity is a plain number in its base unit: metre, GeV, nanosecond,
tesla, radian, elementary charge; density in g/cm3. Config files and the command line take
quantities with units, which `parse` converts:

>>> parse("30 cm", "m")
0.3
>>> parse(0.3, "m")
0.3
"""

__all__ = ["Angle", "Area", "Density", "Duration", "Energy", "Length", "Number", "parse"]

import contextlib
import functools
import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from detopt.errors import UnitError

_QUANTITY = re.compile(  # one number, then one unit that begins with a letter or %
    r"[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?\s*([^\W\d_]|°)((?!\s\d)[^+\[\]()])*|[+-]?[\d.]+\s*%",
    re.IGNORECASE,
)
MOMENTUM_UNITS = {"GeV"}  # c = 1: a momentum in GeV/c is a number in GeV


@functools.cache
def _registry() -> Any:
    import pint  # heavy: only when a quantity with a unit is read

    return pint.UnitRegistry()


def parse(quantity: object, unit: str) -> float:
    """The number that `quantity` is in `unit`.

    Args:
        quantity: A number, taken to be in `unit` already, or a text such as ``"30 cm"``.
        unit: Base unit that the caller works in, such as ``"m"`` or ``"GeV"``.

    Raises:
        UnitError: The text does not parse, or its dimension is not that of `unit`.
    """
    if isinstance(quantity, bool) or not isinstance(quantity, int | float | str):
        raise UnitError(f"A quantity must be a number or a text such as '30 cm', got {quantity!r}.")
    number = _read(quantity, unit) if isinstance(quantity, str) else float(quantity)
    if not math.isfinite(number):
        raise UnitError(f"A quantity must be finite, got {quantity!r}.")
    return number


def _read(quantity: str, unit: str) -> float:
    with contextlib.suppress(ValueError):  # a text that is no plain number has a unit
        return float(quantity)
    if not _QUANTITY.fullmatch(quantity.strip()):
        raise UnitError(f"Cannot read the quantity {quantity!r}. Write it like '30 cm'.")
    try:
        parsed = _registry().Quantity(quantity)
    except Exception as error:  # pint's tokenizer raises several private types
        raise UnitError(f"Cannot read the quantity {quantity!r}. Write it like '30 cm'.") from error
    return _convert(parsed, quantity, unit)


def _convert(parsed: Any, quantity: str, unit: str) -> float:
    import pint.errors

    target = "" if unit in {"", "1"} else unit
    candidates = [parsed]
    if unit in MOMENTUM_UNITS:
        candidates.append(parsed * _registry().speed_of_light)
    for candidate in candidates:
        try:
            return float(candidate.to(target).magnitude)
        except pint.errors.DimensionalityError:
            continue
    expected = f"a quantity in {unit}" if target else "a number without unit"
    raise UnitError(f"{quantity!r} has the wrong dimension: expected {expected}.")


def _quantity(unit: str) -> BeforeValidator:
    return BeforeValidator(functools.partial(parse, unit=unit))


Length = Annotated[float, _quantity("m")]
Area = Annotated[float, _quantity("m^2")]
Energy = Annotated[float, _quantity("GeV")]
Angle = Annotated[float, _quantity("rad")]
Duration = Annotated[float, _quantity("s")]  # exposure of an instrument; a hit time is in ns
Density = Annotated[float, _quantity("g/cm^3")]
Number = Annotated[float, _quantity("1")]
