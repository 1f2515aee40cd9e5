"""Where a study comes from: the design of another run, or parts of several ones."""

__all__ = ["Origin", "Part", "origins"]

from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from detopt.design import Design
from detopt.runtime.digests import design_digest
from detopt.runtime.storage import Link

if TYPE_CHECKING:
    from detopt.runtime.config import StudyConfig


class Origin(BaseModel):
    """The final design of a run, from which another one starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str = Field(description="Name of the run")
    digest: str = Field(description="SHA-256 of its final design")
    problem: str = Field(description="SHA-256 of its use case with options")
    design: dict[str, Any] = Field(description="Its final design, in base units", repr=False)

    @model_validator(mode="after")
    def _is_whole(self) -> "Origin":
        try:
            found = design_digest(self.design)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the design of `{self.run}` holds what is no number") from error
        if found != self.digest:
            raise ValueError(f"the design of `{self.run}` has another digest: it was changed")
        return self

    @property
    def values(self) -> Design:
        """The design (float64)."""
        return Design(
            {
                name: torch.as_tensor(value, dtype=torch.float64)
                for name, value in self.design.items()
            }
        )


class Part(Origin):
    """The final design of a task, and what a merge takes from it."""

    free: list[str] = Field(description="Parameters that the task freed")
    taken: list[str] = Field(description="Parameters whose values are taken from it")

    @property
    def label(self) -> str:
        """What its design is called beside others."""
        return f"part {self.run}"


def origins(config: "StudyConfig") -> list[Link]:
    """The designs that a study is made from."""
    found = [Link("part", part.digest, part.run) for part in config.merged]
    if config.parent is not None:
        found.append(Link("parent", config.parent.digest, config.parent.run))
    return found
