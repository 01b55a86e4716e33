"""Write the evaluation of risk answers as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]
LEVELS = ("95", "97.5", "99")
GROUPS = {
    "equal": "equal weight",
    "bitcoin": "bitcoin",
    "long_only": "200 long-only",
    "long_short": "200 long/short",
}
PEERS = {"hs_250": "HS 250", "garch_t": "GARCH-t", "garch_t_fhs": "GARCH-t FHS"}
METHODS = {
    "independent": "independent coins",
    "gaussian_copula": "Gaussian copula, same marginals",
    "hs_250": "HS 250",
    "ewma": "EWMA covariance, Gaussian",
}


def markdown(found: Found) -> str:
    """Return the page: the acceptance criteria, then the tables of all results."""
    return "\n".join([*_head(found), *_figures(found), *_var(found), *_touch(found), *_joint(found)]) + "\n"


def _head(found: Found) -> Iterator[str]:
    about = found["about"]
    yield "# Risk answers, walked forward"
    yield ""
    yield (
        f"{found['days']} days from {about['first_origin']} to {about['last_origin']}, "
        f"{len(about['coins'])} coins; baskets of {', '.join(found['basket_coins'])}. "
        "Answers of the product's ensemble and scenario engine; those of a day use data up to its close. "
        "Gains are in percent, with Diebold-Mariano statistics on date means (HAC). "
        f"{about['seconds']['all']:.0f} s."
    )
    yield ""
    for note in about["notes"]:
        yield f"- {note}"
    yield ""


def _figures(found: Found) -> Iterator[str]:
    yield "## Acceptance criteria"
    yield ""
    yield from _table(
        ("criterion", "value", "bound", "target", "result"),
        [
            (
                e["name"],
                "" if e["value"] is None else f"{e['value']:.3g}",
                _range(e["must"]),
                _range(e["aim"]),
                {True: "holds", False: "**misses**", None: "not measured"}[e["holds"]]
                + ("; target reached" if e["reaches_aim"] else ""),
            )
            for e in found["figures"]
        ],
    )


def _var(found: Found) -> Iterator[str]:
    for h in ("1", "7"):
        part = found["var"][h]
        yield f"## Value at risk, {h} d ({part['days']} days)"
        yield ""
        rows: list[tuple[str, ...]] = []
        for group, title in GROUPS.items():
            if group not in part["groups"]:
                continue
            levels = part["groups"][group]
            rows.append(
                (
                    title,
                    _join(levels[x]["hits_percent"] for x in LEVELS),
                    _join(levels[x]["loss_over_es"] for x in LEVELS),
                    _join(levels[x].get("kupiec_p") for x in LEVELS),
                    _join(levels[x].get("christoffersen_p") for x in LEVELS),
                    _join(levels[x]["kupiec_rejects_percent"] for x in LEVELS),
                )
            )
        head = ("basket", "hits %", "loss / ES", "Kupiec p", "Christoffersen p", "Kupiec rejects %")
        yield from _table(head, rows)
        rows = []
        for peer, title in PEERS.items():
            for group, entries in part["against"].get(peer, {}).items():
                gains = ", ".join(
                    f"{entries[x]['pinball_gain_percent']:.1f} ({_number(entries[x]['diebold_mariano'])})"
                    for x in LEVELS
                )
                scores = ", ".join(
                    f"{entries[x]['fz0_gain']:.3f} ({_number(entries[x]['fz0_diebold_mariano'])})"
                    for x in LEVELS
                )
                hits = _join(entries[x]["peer_hits_percent"] for x in LEVELS)
                rows.append((title, GROUPS[group], gains, scores, hits))
        yield from _table(
            ("engine over", "basket", "pinball gain % (DM)", "FZ0 gain (DM)", "hits of the other %"), rows
        )
    years = found["var"]["1"]["groups"]["equal"]
    yield "Equal weight by year, 1 d, hits %: " + "; ".join(
        f"{year} {_join(years[x]['by_year_percent'][year] for x in LEVELS)}"
        for year in years["95"]["by_year_percent"]
    )
    yield ""


def _touch(found: Found) -> Iterator[str]:
    touch = found["touch"]
    yield "## Touch"
    yield ""
    rows: list[tuple[str, ...]] = []
    for h, part in touch.items():
        low, high = part["interval"]
        errors = _join(
            part[k]
            for k in ("calibration_error", "calibration_error_twice_tail", "calibration_error_lognormal")
        )
        years = ", ".join(f"{y} {v:.1f}" for y, v in part["by_year_percent"].items())
        rows.append(
            (
                f"{h} d",
                f"{part['brier_skill_percent']:.2f} [{_number(low)}, {_number(high)}]",
                _number(part["diebold_mariano"]),
                f"{part['over_twice_tail_percent']:.2f}",
                errors,
                f"{part['bias_up']:.1f} / {part['bias_down']:.1f}",
                years,
            )
        )
    head = (
        "horizon",
        "Brier skill over lognormal %",
        "DM",
        "over twice the tail %",
        "calibration error: engine / twice tail / lognormal",
        "bias up / down",
        "by year",
    )
    yield from _table(head, rows)
    rows = []
    for low in range(0, 100, 10):
        cells = []
        for part in touch.values():
            hit = [b for b in part["bins"] if b["low"] == low]
            cells.append(
                f"{hit[0]['forecast']:.1f}/{hit[0]['observed']:.1f} ({hit[0]['count']})" if hit else ""
            )
        rows.append((f"{low}-{low + 10}", *cells))
    yield from _table(("forecast/observed (n)", *(f"{h} d" for h in touch)), rows)


def _joint(found: Found) -> Iterator[str]:
    joint = found["joint"]
    yield f"## Joint paths ({joint['days']} days)"
    yield ""
    rows: list[tuple[str, ...]] = []
    for method, title in METHODS.items():
        cells = []
        for score in ("energy", "variogram"):
            part = joint[score].get(method)
            cells.append(
                ""
                if part is None
                else f"{part['gain_percent']:.2f} [{_number(part['interval'][0])}, "
                f"{_number(part['interval'][1])}], {_number(part['diebold_mariano'])}"
            )
        rows.append((title, *cells))
    yield from _table(("against", "energy gain %, DM", "variogram gain %, DM"), rows)
    if falls := joint.get("falls"):
        gain = falls["over_flipped"]
        yield (
            f"Chance that one of {falls['coins']} coins closes below -5 %: forecast "
            f"{falls['forecast_percent']:.1f} %, observed {falls['observed_percent']:.1f} %, "
            f"by flipped signs {falls['flipped_percent']:.1f} %; Brier gain over flipped "
            f"{gain['gain_percent']:.1f} % (DM {_number(gain['diebold_mariano'])})."
        )
        yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _join(values: Any) -> str:
    return " / ".join(_number(v) for v in values)


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2f}"  # noqa: PLR0124 - NaN is unlike itself


def _range(bounds: Sequence[float] | None) -> str:
    if bounds is None:
        return ""
    low, high = bounds
    if high == float("inf"):
        return f"at least {low:g}"
    return f"at most {high:g}" if low == float("-inf") else f"{low:g} to {high:g}"
