"""Pictures of how well the scanner reconstructs."""

__all__ = ["predicted_against_true"]

from collections.abc import Sequence

from detopt.pipeline import Scatter, Summary
from detopt.usecases.muon_scanner.calibration import CalibrationRows

LARGEST = 2_000  # points in a plot


def predicted_against_true(summary: Summary, task: str) -> Sequence[Scatter]:
    """Predictions after the linear correction against the truth, a point for each scan."""
    assert isinstance(summary, CalibrationRows)
    p, t = summary.p, summary.t
    if task == "image":
        return (_within_scans(summary),)
    centered = p - p.mean()
    gain = (centered * (t - t.mean())).sum() / centered.square().sum()
    corrected = t.mean() + gain * centered
    return (
        Scatter(
            x=t[:LARGEST].tolist(),
            y=corrected[:LARGEST].tolist(),
            x_label="true fill height z [m]",
            y_label="reconstructed fill height z [m]",
            title="Fill height of each scan",
            diagonal=True,
        ),
    )


def _within_scans(summary: CalibrationRows) -> Scatter:
    """How strongly prediction and truth vary together within each scan."""
    spread_p = (summary.pp - summary.p.square()).clamp_min(0).sqrt()
    covariance = summary.pt - summary.p * summary.t
    spread_t = (summary.tt - summary.t.square()).clamp_min(1e-30).sqrt()
    correlation = covariance / (spread_p * spread_t).clamp_min(1e-30)
    return Scatter(
        x=spread_p[:LARGEST].tolist(),
        y=correlation[:LARGEST].tolist(),
        x_label="spread of predicted ln X0 within a scan",
        y_label="correlation of predicted and true ln X0",
        title="Image quality of each scan",
    )
