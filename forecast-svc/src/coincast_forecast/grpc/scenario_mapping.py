"""Convert the messages of joint scenarios, portfolio risk and touch probabilities."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

import numpy as np

from coincast.forecast.v1 import forecast_pb2 as pb
from coincast_chassis.clock import Clock
from coincast_chassis.errors import InvalidInput
from coincast_forecast import domain
from coincast_forecast.grpc.proto_mapping import (
    item_error,
    parse_ids,
    parse_numbers,
    provenance_message,
    timestamp,
)
from coincast_forecast.rendering.service import dates_ahead
from coincast_forecast.scenarios.service import (
    Basis,
    Holding,
    PortfolioAnswer,
    Simulation,
    TouchAnswer,
    TouchLevel,
)
from coincast_modelkit.scenarios import DEFAULT_LEVELS, MAX_DAYS, WINDOW_ORIGINS

DEFAULT_DAYS = 7
MAX_TOUCH_IDS = 50
MAX_LEVELS = 10
MAX_HOLDINGS = 250
# Limit of a holding, in coins or units of currency, so that sums are precise enough in double precision.
MAX_SIZE = 1e15
CHANGE_PROBABILITIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99)


def parse_days(days: int) -> int:
    """Return the horizon of a simulation in days. Raises InvalidInput."""
    if days > MAX_DAYS:
        raise InvalidInput(f"days must be 1 to {MAX_DAYS}, not {days}", field="days")
    return days or DEFAULT_DAYS


def parse_paths(paths: int) -> int:
    """Return the number of paths in a reply. Raises InvalidInput."""
    if paths > WINDOW_ORIGINS:
        raise InvalidInput(f"paths must be 1 to {WINDOW_ORIGINS}, not {paths}", field="paths")
    return paths or WINDOW_ORIGINS


def parse_holdings(given: Sequence[pb.Holding]) -> tuple[Holding, ...]:
    """Convert and validate holdings. Raises InvalidInput, which names the field and the fix."""
    if not 1 <= len(given) <= MAX_HOLDINGS:
        raise InvalidInput(
            f"holdings must name 1 to {MAX_HOLDINGS} coins, not {len(given)}", field="holdings"
        )
    ids = [parse_ids([holding.id], field="holdings")[0] for holding in given]
    holdings = []
    for coin, holding in zip(ids, given, strict=True):
        kind = holding.WhichOneof("size")
        if kind is None:
            raise InvalidInput(f"holdings: {coin} needs an amount or a value", field="holdings")
        size = getattr(holding, kind)
        if not math.isfinite(size) or size == 0 or abs(size) > MAX_SIZE:
            raise InvalidInput(
                f"holdings: the {kind} of {coin} must be a number other than 0, up to {MAX_SIZE:g} in size",
                field="holdings",
            )
        holdings.append(Holding(coin, **{kind: size}))
    return tuple(holdings)


def parse_levels(given: Sequence[float]) -> tuple[float, ...]:
    """Return the levels of value at risk in percent. Raises InvalidInput."""
    return parse_numbers(given, 50.0, 99.9, "levels_percent") or DEFAULT_LEVELS


def parse_touch_ids(given: Sequence[str]) -> tuple[str, ...]:
    """Return the coins of a touch request. Raises InvalidInput."""
    ids = parse_ids(given)
    if len(ids) > MAX_TOUCH_IDS:
        raise InvalidInput(f"ids must name 1 to {MAX_TOUCH_IDS} coins, not {len(ids)}", field="ids")
    return ids


def parse_touch_levels(given: Sequence[pb.TouchLevel]) -> tuple[TouchLevel, ...]:
    """Return the levels of a touch request. Raises InvalidInput."""
    if not 1 <= len(given) <= MAX_LEVELS:
        raise InvalidInput(f"levels must name 1 to {MAX_LEVELS} levels, not {len(given)}", field="levels")
    levels = []
    for level in given:
        kind = level.WhichOneof("level")
        if kind == "price" and 0 < level.price <= MAX_SIZE:
            levels.append(TouchLevel(price=level.price))
        elif kind == "percent" and -100 < level.percent <= 1_000_000:
            levels.append(TouchLevel(percent=level.percent))
        else:
            raise InvalidInput(
                "levels: give a price above 0, or a move in percent above -100", field="levels"
            )
    return tuple(levels)


def parse_as_of(
    request: pb.SimulatePathsRequest | pb.AssessPortfolioRequest | pb.EstimateTouchRequest,
) -> dt.datetime | None:
    """Return the past moment of a request, a full UTC hour; None for now."""
    if not request.HasField("as_of_time"):
        return None
    return request.as_of_time.ToDatetime(tzinfo=dt.UTC).replace(minute=0, second=0, microsecond=0)


def _touch_record(answer: TouchAnswer, days: int) -> str:
    """Return a sentence with the record of statements like the first one at the longest horizon."""
    record = answer.simulation.paths.record
    for _, levels in answer.coins.values():
        for level in levels:
            if record is not None:
                return record.touch_sentence(float(level.probabilities.touch[days - 1]), days)
    return ""


def _loss_record(answer: PortfolioAnswer) -> str:
    """Return a sentence with the record of the value at risk: at 95 %, else at the first known level."""
    record = answer.simulation.paths.record
    if record is None:
        return ""
    said = (record.exceedance_sentence(tail.level_percent, answer.days) for tail in answer.risk.levels)
    levels = {tail.level_percent for tail in answer.risk.levels}
    if 95.0 in levels:
        return record.exceedance_sentence(95.0, answer.days)
    return next((sentence for sentence in said if sentence), "")


def basis_message(basis: Basis, clock: Clock, record_sentence: str = "") -> pb.ScenarioBasis:
    """Return the message about the model, the data and the past days behind the scenarios."""
    as_of = start_of(basis)
    return pb.ScenarioBasis(
        model=basis.model,
        version=basis.version,
        served_by=basis.served_by,
        degraded=bool(basis.reason),
        reason=basis.reason,
        as_of=timestamp(as_of),
        provenance=provenance_message(as_of, basis.provenance, clock),
        scenarios=basis.scenarios,
        first_origin_date=basis.first_origin.isoformat(),
        last_origin_date=basis.last_origin.isoformat(),
        borrowed_ids=basis.borrowed_ids,
        record_sentence=record_sentence,
        as_of_reason=basis.start_reason,
        reconstructed=basis.reconstructed,
    )


def start_of(basis: Basis) -> dt.datetime:
    """Return the moment that the scenarios start from: the last close, or an hour of the day after it."""
    return domain.close_of(basis.day) + dt.timedelta(hours=basis.start_hours)


def path_messages(
    simulation: Simulation, *, days: int, paths: int, clock: Clock
) -> Iterator[pb.SimulatePathsResponse]:
    """Yield a message with the basis, then one message with the paths of each coin."""
    errors = [item_error(coin, error) for coin, error in simulation.errors]
    yield pb.SimulatePathsResponse(basis=basis_message(simulation.basis, clock), errors=errors)
    joint = simulation.paths.spread(paths)
    origins = [str(day) for day in joint.origins]
    for i, coin in enumerate(joint.coin_ids):
        price = float(joint.last_price[i])

        def prices(log_returns: np.ndarray, price: float = price) -> list[float]:
            found: list[float] = (price * np.exp(log_returns[:days].T)).ravel().tolist()
            return found

        yield pb.SimulatePathsResponse(
            coin=pb.CoinPaths(
                id=coin,
                last_price=price,
                days=days,
                paths=len(joint),
                closes=prices(joint.closes[i]),
                highs=prices(joint.highs[i]),
                lows=prices(joint.lows[i]),
                origin_dates=origins,
            )
        )


def portfolio_message(
    answer: PortfolioAnswer, *, vs_currency: str, clock: Clock
) -> pb.AssessPortfolioResponse:
    """Return the loss distribution of a portfolio."""
    risk, basis = answer.risk, answer.simulation.basis
    values = {holding.coin_id: holding.value for holding in answer.holdings}
    gross = sum(abs(value) for value in values.values())
    as_of = timestamp(start_of(basis))

    def percent(change: float) -> float:
        return 100 * change / gross if gross else 0.0

    message = pb.AssessPortfolioResponse(
        basis=basis_message(basis, clock, _loss_record(answer)),
        errors=[item_error(coin, error) for coin, error in answer.simulation.errors],
        vs_currency=vs_currency,
        days=answer.days,
        value=sum(values.values()),
        gross_value=gross,
        diversification_percent=risk.diversification_percent,
    )
    for probability, change in zip(
        CHANGE_PROBABILITIES, risk.quantiles(CHANGE_PROBABILITIES).tolist(), strict=True
    ):
        message.change_quantiles.add(probability=probability, change=change, change_percent=percent(change))
    for tail in risk.levels:
        level = message.levels.add(
            level_percent=tail.level_percent,
            value_at_risk=tail.value_at_risk,
            expected_shortfall=tail.expected_shortfall,
            refused=tail.refused,
            tail_scenarios=tail.tail_scenarios,
            tail_episodes=tail.tail_episodes,
            indicative=tail.indicative,
            relative_error_percent=tail.relative_error_percent,
        )
        whole = tail.expected_shortfall
        for coin, part in zip(risk.coin_ids, tail.components, strict=False):
            share = 100 * part / whole if whole else 0.0
            level.components.add(id=coin, expected_shortfall=part, share_percent=share)
    for day, change in risk.worst:
        message.worst.add(origin_date=day.isoformat(), change=change, change_percent=percent(change))
    for holding in answer.holdings:
        message.holdings.add(
            id=holding.coin_id,
            amount=holding.amount,
            price=holding.price,
            value=holding.value,
            price_as_of=as_of,
        )
    return message


def touch_message(answer: TouchAnswer, *, days: int, clock: Clock) -> pb.EstimateTouchResponse:
    """Return the touch probabilities of every level by coin and day."""
    basis = answer.simulation.basis
    message = pb.EstimateTouchResponse(
        basis=basis_message(basis, clock, _touch_record(answer, days)),
        errors=[item_error(coin, error) for coin, error in answer.simulation.errors],
    )
    dates = dates_ahead(basis.day, days)
    for coin, (last_price, levels) in answer.coins.items():
        of_coin = message.coins.add(id=coin, last_price=last_price)
        for level in levels:
            of_level = of_coin.levels.add(price=level.price, percent=level.percent)
            touch = level.probabilities.touch.tolist()
            beyond = level.probabilities.close_beyond.tolist()
            for horizon, day in enumerate(dates, start=1):
                of_level.days.add(
                    date=day,
                    horizon_days=horizon,
                    touch_probability=touch[horizon - 1],
                    close_beyond_probability=beyond[horizon - 1],
                )
    return message
