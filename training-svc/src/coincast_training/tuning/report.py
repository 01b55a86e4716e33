"""Report of a tuning study: the best value after each trial, and the importance of the parameters."""

from __future__ import annotations

from html import escape
from pathlib import Path

import optuna
from optuna import visualization

from coincast_training.tuning.outcome import Tuning
from coincast_training.tuning.space import FOLD_NOTES


def write_report(study: optuna.Study, tuning: Tuning, path: Path, *, model: str) -> None:
    """Write one HTML page, which opens without a network."""
    figures = [visualization.plot_optimization_history(study), visualization.plot_intermediate_values(study)]
    if tuning.importance:
        figures.append(visualization.plot_param_importances(study))
        figures.append(visualization.plot_slice(study))
    parts = [
        figure.to_html(full_html=False, include_plotlyjs="inline" if number == 0 else False)
        for number, figure in enumerate(figures)
    ]
    rows = "".join(
        f"<tr><td>{t['number']}</td><td>{t['state']}</td><td>{t['value']}</td>"
        f"<td>{escape(str(t['parameters']))}</td></tr>"
        for t in tuning.trials
    )
    path.write_text(
        f"<!doctype html><meta charset='utf-8'><title>Tuning of {escape(model)}</title>"
        f"<h1>Tuning of {escape(model)}</h1><p>Objective: mean CRPS over horizons on {tuning.window[0]} to "
        f"{tuning.window[1]}; best {tuning.best_value:.6f}, base {tuning.base_value:.6f}. "
        f"{escape(FOLD_NOTES.get(model, ''))}</p>{''.join(parts)}"
        "<table border='1'><tr><th>trial</th><th>state</th><th>value</th><th>parameters</th></tr>"
        f"{rows}</table>",
        encoding="utf-8",
    )
