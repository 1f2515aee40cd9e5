"""Branching programs: a bank of particles with parents, and flights until something happens.

A row is an independent tree, such as a shower. All particles of all rows stand in flat arrays, in
any order in which parents come before their children; those that are done cost nothing more.
"""

__all__ = ["Flights", "ParticleBank", "fly"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.errors import DomainError

FIRST_BLOCK, LARGEST_BLOCK = 8, 64  # steps that are looked at together


class ParticleBank:
    """Particles of independent rows, what each adds to its row, and whose child each is.

    Args:
        n_rows: Number of rows.

    Raises:
        DomainError: No rows.
    """

    def __init__(self, n_rows: int) -> None:
        if n_rows < 1:
            raise DomainError(f"The number of rows must be >= 1, got {n_rows}.")
        self.n_rows = n_rows
        self.row: Int[Tensor, " n_particles"] = torch.zeros(0, dtype=torch.int64)
        self.parent: Int[Tensor, " n_particles"] = torch.zeros(0, dtype=torch.int64)
        self.generation: Int[Tensor, " n_particles"] = torch.zeros(0, dtype=torch.int64)
        self.tallies: Float[Tensor, "n_particles n_tallies"] = torch.zeros(0, 0)

    @property
    def n_particles(self) -> int:
        """Number of particles so far."""
        return len(self.row)

    def add(
        self,
        tallies: Float[Tensor, "n_new n_tallies"],
        *,
        row: Int[Tensor, " n_new"] | None = None,
        parent: Int[Tensor, " n_new"] | None = None,
    ) -> Int[Tensor, " n_new"]:
        """Put particles into the bank.

        Args:
            tallies: What each itself adds to the sums of its row, such as a deposit and a count.
            row: The rows of first particles, or
            parent: The parents of others, by their index in the bank.

        Returns:
            Their indices.

        Raises:
            DomainError: Both or none of row and parent are given, or one of them does not exist.
        """
        if (row is None) == (parent is None):
            raise DomainError("Give either the `row` of first particles or the `parent` of others.")
        if row is not None:
            _refuse_outside(row, self.n_rows, "row")
            parent, generation = torch.full_like(row, -1), torch.zeros_like(row)
        else:
            assert parent is not None
            _refuse_outside(parent, self.n_particles, "parent")
            row, generation = self.row[parent], self.generation[parent] + 1
        if len(tallies) != len(row):
            raise DomainError(f"There are {len(row)} particles, but {len(tallies)} tallies.")
        first = self.n_particles
        self.row = torch.cat([self.row, row])
        self.parent = torch.cat([self.parent, parent])
        self.generation = torch.cat([self.generation, generation])
        self.tallies = torch.cat([self.tallies, tallies]) if first else tallies
        return torch.arange(first, self.n_particles)

    def row_sums(
        self, values: Float[Tensor, "n_particles *columns"]
    ) -> Float[Tensor, "n_rows *columns"]:
        """Sums over the particles of each row."""
        return values.new_zeros(self.n_rows, *values.shape[1:]).index_add(0, self.row, values)

    def subtree_sums(
        self, values: Float[Tensor, "n_particles *columns"]
    ) -> Float[Tensor, "n_particles *columns"]:
        """Sums over each particle and all its descendants."""
        sums = values.clone()
        deepest = int(self.generation.max()) if self.n_particles else 0
        for generation in range(deepest, 0, -1):
            index = (self.generation == generation).nonzero().squeeze(1)
            sums = sums.index_add(0, self.parent[index], sums[index])
        return sums


def _refuse_outside(index: Tensor, size: int, name: str) -> None:
    if not len(index):
        return
    lowest, highest = int(index.min()), int(index.max())
    if lowest < 0 or highest >= size:
        raise DomainError(
            f"`{name}` must lie between 0 and {size - 1}, got values from {lowest} to {highest}."
        )


@dataclass(frozen=True)
class Flights:
    """Where particles ended, and all trials on the way.

    Args:
        n_steps: Steps that each particle took.
        interacted: Whether the last of them was an interaction.
        particle: The particle of each trial; trials of a particle are in order.
        step: The step of each trial, from 1.
        success: Whether the trial was an interaction.
    """

    n_steps: Int[Tensor, " n_particles"]
    interacted: Bool[Tensor, " n_particles"]
    particle: Int[Tensor, " n_trials"]
    step: Int[Tensor, " n_trials"]
    success: Bool[Tensor, " n_trials"]


@torch.no_grad()
def fly(
    probability: Callable[[Tensor, Tensor], Tensor],
    limit: Int[Tensor, " n_particles"],
    uniform: Float[Tensor, " n_particles"],
) -> Flights:
    r"""Let particles step until they interact.

    Step k of a particle is an interaction with probability :math:`p_k`, independently. One uniform
    number u a particle decides: it interacts at the first k with
    :math:`-\sum_{j \le k} \ln(1 - p_j) > -\ln(1 - u)`.

    Args:
        probability: Maps indices of m particles and their next steps, (m, 1) and (m, s) numbers
            from 1, to the probabilities (m, s).
        limit: Steps after which a particle leaves without interaction, >= 1.
        uniform: Numbers u in [0, 1).

    Returns:
        Flights, without derivative; `attach_branching` gives one to what follows from them.
    """
    n_steps, interacted = limit.clone(), torch.zeros_like(limit, dtype=torch.bool)
    active = torch.arange(len(limit))
    left = -torch.log1p(-uniform)
    particles, steps = [], []
    done, block = 0, FIRST_BLOCK
    while len(active):
        step = torch.arange(done + 1, done + block + 1)
        hazard = -torch.log1p(-probability(active[:, None], step.expand(len(active), block)))
        depth = hazard.cumsum(1)
        hit = (depth > left[:, None]) & (step <= limit[active, None])
        first = torch.where(hit.any(1), hit.to(torch.uint8).argmax(1), block)
        n_steps[active] = torch.minimum(limit[active], done + first + 1)
        interacted[active] = first < block
        at, along = (step <= n_steps[active, None]).nonzero(as_tuple=True)
        particles.append(active[at])
        steps.append(step[along])
        going = ~interacted[active] & (limit[active] > done + block)
        left = (left - depth[:, -1])[going]
        active = active[going]
        done, block = done + block, min(2 * block, LARGEST_BLOCK)
    particle, taken = _in_order(particles, steps)
    success = interacted[particle] & (taken == n_steps[particle])
    return Flights(n_steps, interacted, particle, taken, success)


def _in_order(particles: list[Tensor], steps: list[Tensor]) -> tuple[Tensor, Tensor]:
    if not particles:
        empty = torch.zeros(0, dtype=torch.int64)
        return empty, empty
    particle, step = torch.cat(particles), torch.cat(steps)
    order = torch.sort(particle, stable=True).indices
    return particle[order], step[order]
