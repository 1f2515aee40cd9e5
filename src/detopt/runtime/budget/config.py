"""How much computing a study may use, and what it costs."""

__all__ = ["ComputeBudget"]

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.runtime.budget.amounts import Limits
from detopt.runtime.budget.prices import LOCAL, Rate, load_prices

DEFAULT_MARGIN = 1.5
DEFAULT_FIRST = 0.05  # h


class ComputeBudget(BaseModel):
    """Limits of a study's computing; what is not given has no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu_hours: float | None = Field(None, ge=0, allow_inf_nan=False, description="CPU time [h]")
    gpu_hours: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Time of accelerators [h]"
    )
    wall_hours: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Time by the clock while it runs [h]"
    )
    money: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="In the currency of the price file"
    )
    prices: Path | None = Field(None, description="Price file; see `detopt budget prices`")
    machine: str | None = Field(None, description="PROVIDER/TYPE of the workers' machines")
    spot: bool = Field(False, description="Whether they are spot machines")
    workers_per_machine: int | None = Field(
        None, ge=1, description="Workers that share a machine; null: as many as it has cores"
    )
    shared: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Name of a budget that several runs of a database share; null: its own",
    )
    margin: float = Field(
        DEFAULT_MARGIN, ge=1, le=100, description="Reserved over the largest that was measured"
    )
    first_hours: float = Field(
        DEFAULT_FIRST,
        gt=0,
        le=1000,
        description="Reserved for the first round [h], at most 1/8 of the limits",
    )

    @model_validator(mode="before")
    @classmethod
    def _is_priced(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, needed in (("money", "prices"), ("machine", "prices"), ("prices", "machine")):
            if data.get(name) is not None and data.get(needed) is None:
                raise ValueError(f"`{name}` needs `{needed}`")
        if data.get("spot") and data.get("machine") is None:
            raise ValueError("`spot` needs `machine` and `prices`")
        if data.get("gpu_hours") is not None and data.get("machine") is None:
            raise ValueError("`gpu_hours` needs `machine`, whose accelerators are counted")
        return data

    @property
    def limits(self) -> Limits:
        """How much may be used."""
        return Limits(self.cpu_hours, self.gpu_hours, self.wall_hours, self.money)

    def rate(self) -> Rate:
        """What a worker costs, by the price file as it is now.

        Raises:
            ConfigError: The price file is missing or wrong.
            NotFoundError: It has no price of the machine.
        """
        if self.prices is None or self.machine is None:
            return LOCAL
        return load_prices(self.prices).rate(
            self.machine, spot=self.spot, workers=self.workers_per_machine
        )
