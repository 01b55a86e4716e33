"""Features: two views that agree, no look-ahead, missing inputs, the numbers of a well-kept TA library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import ta
from hypothesis import given, settings
from hypothesis import strategies as st
from ta.momentum import PercentagePriceOscillator, ROCIndicator, RSIIndicator, StochasticOscillator
from ta.trend import CCIIndicator
from ta.volatility import AverageTrueRange, BollingerBands
from ta.volume import MFIIndicator

from coincast_modelkit.candles import Candles
from coincast_modelkit.features import DEFAULT_SPEC, FeatureSpec, Market, batch, latest, market_of, spec_of
from coincast_modelkit.features.docs_page import page
from coincast_modelkit.features.groups import FEATURES
from coincast_modelkit.model_input import prepare
from tests.unit.modelkit.modelkit_candles import panel, simulated, without

PANEL = panel()
MARKET = market_of(PANEL)
COIN = PANEL["ethereum"]
TABLE = batch(COIN, MARKET, DEFAULT_SPEC)


def column(name: str) -> np.ndarray:
    return TABLE[:, DEFAULT_SPEC.names.index(name)]


def test_there_are_more_than_sixty_documented_features_in_groups() -> None:
    assert len(FEATURES) > 60
    assert {f.group for f in FEATURES.values()} == {
        "momentum", "indicators", "ranges", "realised", "volume", "drawdown", "cross", "calendar",
    }  # fmt: skip
    assert all(f.doc.endswith(".") and len(f.doc) > 15 for f in FEATURES.values())


@pytest.mark.parametrize("name", DEFAULT_SPEC.names)
def test_warmup_is_exactly_when_the_first_value_comes(name: str) -> None:
    together = {c: simulated(c, 500, i) for i, c in enumerate(("bitcoin", "ethereum", "ripple", "cardano"))}
    values = batch(together["bitcoin"], together, spec_of([name]))[:, 0]
    known = np.flatnonzero(np.isfinite(values))
    assert known.size
    first = known[0]
    market_days = 31 if FEATURES[name].group == "cross" else 0
    assert FEATURES[name].warmup_days <= first <= FEATURES[name].warmup_days + market_days
    assert np.isfinite(values[first:]).all()


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    np.testing.assert_allclose(np.nan_to_num(a), np.nan_to_num(b), rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    days=st.integers(1, 430),
    dropped=st.sets(st.sampled_from(["high", "low", "volume", "open"])),
)
def test_latest_is_the_last_row_of_batch(seed: int, days: int, dropped: set[str]) -> None:
    coin = without(simulated("coin", days, seed), *dropped)
    assert_same(latest(coin, MARKET, DEFAULT_SPEC), batch(coin, MARKET, DEFAULT_SPEC)[-1])


@pytest.mark.slow
def test_no_feature_looks_ahead_on_any_day() -> None:
    """Each day in turn, everything after it gone, from the coin and from the reference coins."""
    for cut, day in enumerate(COIN.dates):
        known = {c: x.until(day) for c, x in PANEL.items() if len(x.until(day))}
        assert_same(batch(COIN.until(day), known, DEFAULT_SPEC)[-1], TABLE[cut])


def test_a_leak_would_be_seen() -> None:
    """The comparison above fails for a series shifted by one day."""
    with pytest.raises(AssertionError):
        assert_same(batch(COIN.until(COIN.dates[300]), MARKET, DEFAULT_SPEC)[-1], TABLE[301])


def test_memory_is_all_that_a_value_depends_on() -> None:
    long = simulated("coin", 900, 3)
    assert_same(
        batch(long, MARKET, DEFAULT_SPEC)[-1],
        latest(long.tail(DEFAULT_SPEC.memory_days), MARKET, DEFAULT_SPEC),
    )


def test_missing_inputs_give_missing_features_and_leave_the_rest_alone() -> None:
    closes_only = batch(without(COIN, "open", "high", "low", "volume"), MARKET, DEFAULT_SPEC)
    of = {name: closes_only[400, i] for i, name in enumerate(DEFAULT_SPEC.names)}
    for name, feature in FEATURES.items():
        if feature.group in {"ranges", "volume"} or name in {
            "stochastic_14",
            "stochastic_signal_14",
            "cci_20",
        }:
            assert np.isnan(of[name]), name
    for name in (
        "rsi_14",
        "macd",
        "sma_distance_30",
        "realised_30",
        "drawdown_90",
        "weekend",
        "leader_return_7",
        "har_30",
    ):
        assert np.isfinite(of[name]), name
    assert of["rsi_14"] == pytest.approx(column("rsi_14")[400])
    assert of["har_30"] == pytest.approx(of["realised_30"], abs=0.01)


def test_without_volume_only_volume_is_missing() -> None:
    table = batch(without(COIN, "volume"), MARKET, DEFAULT_SPEC)[400]
    missing = {FEATURES[n].group for n, x in zip(DEFAULT_SPEC.names, table, strict=True) if np.isnan(x)}
    assert missing == {"volume"}


def test_without_a_reference_only_cross_sections_are_missing() -> None:
    table = batch(COIN, {}, DEFAULT_SPEC)[400]
    missing = {FEATURES[n].group for n, x in zip(DEFAULT_SPEC.names, table, strict=True) if np.isnan(x)}
    assert missing == {"cross"}


def test_sixty_days_of_history_fill_most_features() -> None:
    row = prepare(COIN.tail(60), MARKET, DEFAULT_SPEC).row
    assert np.isfinite(row).mean() > 0.7


def frame(coin: Candles) -> pd.DataFrame:
    return pd.DataFrame({f: getattr(coin, f) for f in ("open", "high", "low", "close", "volume")})


ORACLES = {
    "rsi_7": lambda d: RSIIndicator(d.close, 7).rsi(),
    "rsi_14": lambda d: RSIIndicator(d.close, 14).rsi(),
    "rsi_28": lambda d: RSIIndicator(d.close, 28).rsi(),
    "macd": lambda d: PercentagePriceOscillator(d.close, 26, 12, 9).ppo(),
    "macd_signal": lambda d: PercentagePriceOscillator(d.close, 26, 12, 9).ppo_signal(),
    "macd_histogram": lambda d: PercentagePriceOscillator(d.close, 26, 12, 9).ppo_hist(),
    "roc_7": lambda d: ROCIndicator(d.close, 7).roc(),
    "roc_30": lambda d: ROCIndicator(d.close, 30).roc(),
    "bollinger_position_20": lambda d: BollingerBands(d.close, 20, 2).bollinger_pband(),
    "bollinger_width_20": lambda d: BollingerBands(d.close, 20, 2).bollinger_wband(),
    "stochastic_14": lambda d: StochasticOscillator(d.high, d.low, d.close, 14, 3).stoch(),
    "stochastic_signal_14": lambda d: StochasticOscillator(d.high, d.low, d.close, 14, 3).stoch_signal(),
    "cci_20": lambda d: CCIIndicator(d.high, d.low, d.close, 20).cci(),
    "money_flow_14": lambda d: MFIIndicator(d.high, d.low, d.close, d.volume, 14).money_flow_index(),
    "atr_14": lambda d: np.log(
        AverageTrueRange(d.high, d.low, d.close, 14).average_true_range()[20:] / d.close
    ),
    "sma_distance_50": lambda d: np.log(d.close / ta.trend.sma_indicator(d.close, 50)),
    "ema_distance_26": lambda d: np.log(d.close / ta.trend.ema_indicator(d.close, 26)),
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLES)
def test_indicators_agree_with_the_ta_library(name: str) -> None:
    """From day 400 on, where the library's own starting values have faded."""
    expected = ORACLES[name](frame(COIN)).to_numpy()[400:]
    np.testing.assert_allclose(column(name)[400:], expected, rtol=2e-4, atol=1e-3)


def test_the_hash_follows_order_parameters_and_formula() -> None:
    names = DEFAULT_SPEC.names
    assert spec_of(names).hash == DEFAULT_SPEC.hash
    assert spec_of(names[::-1]).hash != DEFAULT_SPEC.hash
    assert spec_of(names[:-1]).hash != DEFAULT_SPEC.hash
    with pytest.raises(ValueError, match="unknown features"):
        FeatureSpec(("rsi_14", "magic"))
    with pytest.raises(ValueError, match="named twice"):
        FeatureSpec(("rsi_14", "rsi_14"))


def test_an_absent_day_is_filled_and_counted() -> None:
    holes = np.delete(np.arange(len(COIN)), [200, 201, 350])
    gappy = Candles(
        COIN.coin_id, *(getattr(COIN, f)[holes] for f in ("dates", "open", "high", "low", "close", "volume"))
    )
    whole = gappy.on_every_day()
    assert len(whole) == len(COIN)
    assert whole.close[200] == whole.close[199]
    assert np.isnan(whole.high[200])
    prepared = prepare(gappy, MARKET, DEFAULT_SPEC)
    assert prepared.as_of == COIN.as_of
    assert np.isfinite(prepared.row).all()


def test_the_market_is_empty_without_reference_coins_and_known_otherwise() -> None:
    assert len(market_of({"pepe": PANEL["pepe"]}).dates) == 0
    assert isinstance(market_of(MARKET), Market)
    assert len(MARKET.dates) == len(PANEL["bitcoin"])


def test_prepared_window_ends_with_the_row(daily_candles: Path) -> None:
    prepared = prepare(COIN, MARKET, DEFAULT_SPEC)
    np.testing.assert_array_equal(prepared.window[-1], prepared.row)
    assert prepared.window.shape == (60, len(DEFAULT_SPEC.names))
    short = prepare(COIN.tail(20), MARKET, DEFAULT_SPEC)
    assert np.isnan(short.window[:40]).all()


def test_the_page_of_features_is_current() -> None:
    written = Path(__file__).resolve().parents[3] / "docs" / "features.md"
    assert written.read_text() == page(), (
        "run: python -m coincast_modelkit.features.docs_page > docs/features.md"
    )


def test_definitions_are_frozen_by_their_numbers() -> None:
    """A formula that gives other numbers must raise its `formula`, so that the spec's hash moves with it."""
    weights = np.cos(np.arange(len(DEFAULT_SPEC.names)))
    assert DEFAULT_SPEC.hash[:16] == FROZEN_HASH
    assert float(weights @ np.tanh(TABLE[450])) == pytest.approx(FROZEN_SUM, abs=1e-9)


FROZEN_HASH = "30a3bdb2ea4f4ca5"
FROZEN_SUM = -1.796207327541
