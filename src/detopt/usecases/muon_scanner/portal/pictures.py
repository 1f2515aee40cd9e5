"""Pictures of a portal's alarms: how rates of true and false alarms go together."""

__all__ = ["portal_pictures"]

from collections.abc import Sequence

from detopt.pipeline import Scatter, Summary
from detopt.usecases.muon_scanner.portal.score import PortalRows
from detopt.usecases.muon_scanner.portal.source import CLEAN
from detopt.usecases.muon_scanner.portal.verdict import (
    PortalGoal,
    alarm_level,
    half_mass,
    roc_curve,
)

LARGEST = 500  # points in a plot


def portal_pictures(summary: Summary, goal: PortalGoal) -> Sequence[Scatter]:
    """The ROC curve of each hidden material, and the efficiency against the mass."""
    assert isinstance(summary, PortalRows)
    harmless = summary.score[summary.kind == CLEAN]
    pictures = []
    for index, name in enumerate(goal.materials):
        scores = summary.score[summary.kind == index]
        if len(scores) == 0 or len(harmless) == 0:
            continue
        false, true = roc_curve(harmless, scores)
        step = max(1, len(false) // LARGEST)
        pictures.append(
            Scatter(
                x=false[::step].tolist(),
                y=true[::step].tolist(),
                x_label="rate of false alarms",
                y_label=f"share of hidden {name} that is found",
                title=f"ROC curve for {name}",
            )
        )
    pictures += [_efficiency(summary, goal, index) for index in range(len(goal.materials))]
    return [picture for picture in pictures if len(picture.x) > 0]


def _efficiency(summary: PortalRows, goal: PortalGoal, index: int) -> Scatter:
    """Share of found blocks for each mass."""
    harmless = summary.score[summary.kind == CLEAN]
    mine = summary.kind == index
    name = goal.materials[index]
    if len(harmless) == 0 or not bool(mine.any()):
        return Scatter([], [], "", "", "")
    level = alarm_level(harmless, goal.false_positive_rate)
    found = (summary.score[mine] > level).double()
    mass = summary.mass[mine]
    masses = mass.unique()
    shares = [float(found[mass == one].mean()) for one in masses]
    half = float(half_mass(mass, found))
    return Scatter(
        x=masses.tolist(),
        y=shares,
        x_label=f"mass of {name} [kg]",
        y_label="share that is found",
        title=f"{name}: half is found at {half:.1f} kg",
    )
