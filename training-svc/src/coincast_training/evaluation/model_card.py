"""Print the tables of the model card: `python -m coincast_training.evaluation.model_card evaluation.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coincast_training.evaluation.acceptance import summarise_acceptance
from coincast_training.evaluation.options import PRODUCT_MODELS

Found = Mapping[str, Any]
Cell = Callable[[str], str]
SCALES = {
    "garch_t_fhs": "CRPS skill % against GARCH-t FHS",
    "garch_normal": "against normal GARCH(1,1)",
    "gaussian_rw_60": "against the rolling-60-day Gaussian random walk",
    "har": "against HAR",
}
POINTS = (
    *PRODUCT_MODELS,
    "auto_ets",
    "auto_arima",
    "auto_theta",
    "mlforecast",
    "mean_lightgbm_seed1",
    "moving_average_30",
)
VIEWS = (*(f"mean_lightgbm_seed{n}" for n in range(1, 5)), "reversal")


def card(found: Found) -> str:
    """Return the Markdown tables of an evaluation.json; rows without a measured value are left out."""
    models = [m for m in PRODUCT_MODELS if m in next(iter(found["models"].values()))]
    tables = [_goals(found), *(_model(found, m) for m in models)]
    tables += [_years(found, m) for m in models if m == "ml_ensemble"]
    return "\n".join([*tables, _mape(found), _direction(found), _strategy(found)])


def _goals(found: Found) -> str:
    verdict = summarise_acceptance(found["goals"])
    reached = sum(bool(g["reaches_aim"]) for g in found["goals"] if g["holds"] is not None)
    missed = f", missed: {'; '.join(verdict.missed)}" if verdict.missed else ""
    held = f"{verdict.held} of {verdict.judged} figures hold{missed}{verdict.remark}"
    return f"{held}; {reached} reach their target.\n"


def _table(title: str, found: Found, rows: Mapping[str, Cell]) -> str:
    horizons = list(found["models"])
    lines = [f"| {title} | {' | '.join(f'{h} d' for h in horizons)} |", "|---" * (len(horizons) + 1) + "|"]
    for name, cell in rows.items():
        cells = [_measured(cell, h) for h in horizons]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def _measured(cell: Cell, horizon: str) -> str:
    """Return the cell, or an empty string if the run did not measure it."""
    try:
        return cell(horizon)
    except (KeyError, TypeError):
        return ""


def _model(found: Found, model: str) -> str:
    def own(h: str) -> Any:
        return found["models"][h][model]

    def against(h: str, baseline: str = "garch_t_fhs", kind: str = "distribution") -> Any:
        return found["against"][h][model][baseline][kind]

    def qlike(h: str, key: str) -> str:
        return f"{against(h, 'garch_normal', 'volatility')[key]['skill_percent']:.1f}"

    def walk(h: str) -> Any:
        return found["models"][h]["random_walk"]["point"]

    def bitcoin(h: str, name: str) -> float:
        return float(found["by_coin_mape"][h][name]["bitcoin"])

    def har(h: str) -> float:
        return float(found["models"][h]["har"]["volatility"]["direction_percent"])

    rows: dict[str, Cell] = {
        text: lambda h, b=base: _ranged(against(h, b))  # type: ignore[misc]  # the default binds the name now
        for base, text in SCALES.items()
    }
    rows |= {
        "Diebold-Mariano against GARCH-t FHS": lambda h: f"{against(h)['diebold_mariano']:.1f}",
        "coins ahead of GARCH-t FHS": lambda h: f"{against(h)['coins_better']} of {against(h)['coins']}",
        "Winkler 80 % against GARCH-t FHS, %": lambda h: f"{against(h)['winkler_80']['skill_percent']:.2f}",
        "coverage of the 80 % interval": lambda h: f"{own(h)['distribution']['coverage_percent']['80']:.1f}",
        "coverage of the 95 % interval": lambda h: f"{own(h)['distribution']['coverage_percent']['95']:.1f}",
        "coverage 80 %, calm / usual / wild days": lambda h: _terciles(own(h), "coverage_percent"),
        "its standard errors": lambda h: _terciles(own(h), "standard_error"),
        "coverage 80 % by year (standard error)": lambda h: _coverage_by_year(own(h)),
        "QLIKE against GARCH(1,1), % better": lambda h: qlike(h, "qlike"),
        "the same, both corrected to the right mean level": lambda h: qlike(h, "qlike_at_right_level"),
        "volatility up or down, % right (HAR rule)": lambda h: (
            f"{own(h)['volatility']['direction_percent']:.1f} ({har(h):.1f})"
        ),
        "the same, on the most confident quarter of days": lambda h: (
            f"{own(h)['volatility']['direction_surest_quarter_percent']:.1f}"
        ),
        "MAPE % (random walk)": lambda h: (
            f"{own(h)['point']['mape_percent']:.2f} ({walk(h)['mape_percent']:.2f})"
        ),
        "bitcoin's MAPE % (random walk)": lambda h: (
            f"{bitcoin(h, model):.2f} ({bitcoin(h, 'random_walk'):.2f})"
        ),
        "forecasts": lambda h: str(own(h)["point"]["forecasts"]),
    }
    return _table(f"`{model}`", found, rows)


def _years(found: Found, model: str) -> str:
    def by_year(h: str) -> Any:
        return found["against"][h][model]["garch_t_fhs"]["distribution"]["by_year_percent"]

    years = {h: by_year(h) for h in found["against"]}
    names = sorted({year for skills in years.values() for year in skills})
    lines = [f"| skill against GARCH-t FHS by year | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for h, skills in years.items():
        lines.append(f"| {h} d | {' | '.join(f'{skills[y]:.2f}' if y in skills else '' for y in names)} |")
    return "\n".join(lines) + "\n"


def _mape(found: Found) -> str:
    def ratio(name: str) -> Cell:
        return lambda h: f"{found['against'][h][name]['random_walk']['point']['mape_ratio']:.3f}"

    return _table(
        "MAPE relative to the random walk's, same days", found, {name: ratio(name) for name in POINTS}
    )


def _direction(found: Found) -> str:
    def right(name: str) -> Cell:
        return lambda h: _direction_cell(found["models"][h][name]["price_direction"])

    title = "direction of the price, % right: all days, the most confident quarter"
    return _table(title, found, {name: right(name) for name in VIEWS})


def _strategy(found: Found) -> str:
    costs = {round(s["cost_basis_points"]) for s in found["strategies"].values()}
    if not costs:
        return ""
    title = f"strategy at one day, after {costs.pop()} basis points per trade"
    lines = [f"| {title} | Sharpe | Sortino | maximum drawdown % | days above zero % |", "|---" * 5 + "|"]
    for name, s in found["strategies"].items():
        cells = f"{s['sharpe']:.2f} | {s['sortino']:.2f} | {s['max_drawdown_percent']:.0f}"
        lines.append(f"| {name} | {cells} | {s['hit_rate_percent']:.1f} |")
    return "\n".join(lines) + "\n"


def _direction_cell(direction: Mapping[str, Any]) -> str:
    every, sure = direction["interval"], direction["surest_quarter_interval"]
    return (
        f"{direction['accuracy_percent']:.1f} [{every[0]:.1f}, {every[1]:.1f}], "
        f"{direction['surest_quarter_percent']:.1f} [{sure[0]:.1f}, {sure[1]:.1f}]"
    )


def _ranged(entry: Mapping[str, Any]) -> str:
    low, high = entry["interval"]
    return f"{entry['skill_percent']:.2f} [{low:.2f}, {high:.2f}]"


def _terciles(own: Mapping[str, Any], key: str) -> str:
    parts = own["distribution"]["coverage_80_by_tercile"]
    return " / ".join(f"{parts[name][key]:.1f}" for name in ("calm", "usual", "wild"))


def _coverage_by_year(own: Mapping[str, Any]) -> str:
    parts = own["distribution"]["coverage_80_by_year"].items()
    return ", ".join(
        f"{year} {part['coverage_percent']:.1f} ({part['standard_error']:.1f})" for year, part in parts
    )


if __name__ == "__main__":
    sys.stdout.write(card(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
