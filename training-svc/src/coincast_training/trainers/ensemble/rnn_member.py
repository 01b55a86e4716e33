"""Walk the recurrent member of the ensemble forward: each network only forecasts days after its training.

TensorFlow is imported only when a network is fitted.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coincast_modelkit.features import DEFAULT_SPEC, FeatureSpec
from coincast_modelkit.models.ensemble.rnn_member import RnnMember, rnn_scales
from coincast_modelkit.models.har import TERMS
from coincast_training.executors import Executor
from coincast_training.trainers.ensemble.dataset import Block, CoinRows, CoinTable
from coincast_training.trainers.ensemble.rnn_params import RnnParams
from coincast_training.trainers.lstm.params import LstmParams
from coincast_training.trainers.progress import Progress
from coincast_training.trainers.registry import unavailable_reason
from coincast_training.trainers.time_window import Window
from coincast_training.trainers.training_table import Rows

if TYPE_CHECKING:
    from coincast_training.trainers.lstm.fitting import Recurrent, Trainer

Floats = NDArray[np.float64]
Store = MutableMapping[tuple[Any, ...], Any]


@dataclass(frozen=True, eq=False)
class RnnTable:
    """The rows of the network, built on first use like `CoinTable`."""

    source: CoinTable
    recipe: LstmParams

    @cached_property
    def rows(self) -> Rows:
        """Return all days of all coins, with the features of the network and of its regression."""
        return _rows(self.source.coins, self.recipe)

    def __reduce__(self) -> tuple[Any, ...]:
        return RnnTable, (self.source, self.recipe)


@dataclass(frozen=True, slots=True, eq=False)
class RnnWalk:
    """The networks of a walk over one panel; `grid` are their fit days (since 1970), in increasing order.

    `store` has all results, by the last day of their data.
    """

    table: RnnTable
    recipe: LstmParams
    params: RnnParams
    grid: tuple[int, ...]
    seed: int
    store: Store

    @classmethod
    def of(
        cls,
        source: CoinTable,
        anchors: tuple[int, ...],
        params: RnnParams,
        folds: Sequence[int],
        *,
        seed: int,
        store: Store,
    ) -> RnnWalk | None:
        """Return a walk with networks fitted on some of the fold days; None if the member is left out.

        Args:
            source: The rows of the coins.
            anchors: Horizons of the ensemble in days.
            params: Parameters of the recurrent member.
            folds: Refit days of the ensemble, since 1970, in increasing order.
            seed: Seed of the networks.
            store: Results of earlier fits, and of this walk.

        Raises:
            ValueError: The member is required, but TensorFlow is missing or the history is too short.
        """
        missing = unavailable_reason("lstm")
        recipe = params.recipe(anchors)
        grid = _fit_days(
            folds, min(int(c.days[0]) for c in source.coins) + params.min_days, params.every_days
        )
        # The pool is fitted on forecasts of folds that have ended. A network of the last day has no such
        # forecast.
        short = not any(day < folds[-1] for day in grid)
        if params.use == "on" and (missing or short):
            needed = f"{params.min_days} days of history and a fold after them are needed"
            raise ValueError(f"ml_ensemble parameters: lstm.use: on, but: {missing or needed}")
        if params.use == "off" or missing or short:
            return None
        return cls(
            table=RnnTable(source, recipe), recipe=recipe, params=params, grid=grid, seed=seed, store=store
        )

    @property
    def rows(self) -> Rows:
        """Return the rows of the network."""
        return self.table.rows

    def fit_all(self, last: int, executor: Executor, progress: Progress) -> None:
        """Fit all networks of the walk and the served one, and report progress."""
        # The longest first, as for the folds of the members.
        wanted = sorted({*(day for day in self.grid if day <= last), self._served_day(last)}, reverse=True)
        missing = [day for day in wanted if ("network", day) not in self.store]
        if not missing:
            return

        def on_done(done: int) -> None:
            progress(done / len(missing), f"fitted network {done} of {len(missing)}")

        trainer = self._trainer()
        for day, found in zip(
            missing, executor.map(_network_on, trainer, missing, on_done=on_done), strict=True
        ):
            self.store["network", day] = found if found is None else found.on(trainer.net)

    def columns(self, day: int, block: Block) -> Floats:
        """Return log scales (n, A) of a block by the newest network on `day`; NaN before the first one."""
        known = [d for d in self.grid if d <= day]
        network = self._network(known[-1]) if known else None
        if network is None:
            return np.full((len(block.day), len(self.recipe.anchors)), np.nan)
        key = ("rnn columns", day, known[-1])
        if key not in self.store:
            self.store[key] = self._scales(network, block)
        found: Floats = self.store[key]
        return found

    def served(self, last: int) -> RnnMember | None:
        """Return the member for serving: a network fitted up to `last`, or the newest of the walk."""
        day = self._served_day(last)
        key = ("rnn", day)
        if key not in self.store:
            network = self._network(day)
            self.store[key] = None if network is None else _export(network, self.recipe)
        found: RnnMember | None = self.store[key]
        return found

    def _served_day(self, last: int) -> int:
        known = [d for d in self.grid if d <= last]
        return last if self.params.refit or not known else known[-1]

    def notes(self) -> dict[str, Any]:
        """Return the days and epochs of the fitted networks, for the manifest."""
        days = sorted(key[1] for key in self.store if key[0] == "network")
        networks = {str(np.datetime64(d, "D")): self.store["network", d] for d in days}
        return {
            "networks": {day: n.epochs for day, n in networks.items() if n is not None},
            "passes": self.params.passes,
        }

    def _scales(self, network: Recurrent, block: Block) -> Floats:
        starts = np.searchsorted(self.rows.coin, np.arange(len(self.rows.coin_ids)))
        first = self.rows.origins[starts].astype(np.int64)
        at = starts[block.coin] + block.day - first[block.coin]
        found = network.outputs(self.rows, at)
        return rnn_scales(found.line, found.extra, found.widen, self.recipe.anchors)

    def _network(self, day: int) -> Recurrent | None:
        """Return the network fitted on closes up to `day`; None if they are too few for its regression."""
        key = ("network", day)
        if key not in self.store:
            self.store[key] = _network_on(self._trainer(), day)
        found: Recurrent | None = self.store[key]
        return found

    def _trainer(self) -> Trainer:
        """Return a trainer with the compiled network, which all trainers of this recipe share."""
        from coincast_training.trainers.lstm.fitting import Trainer  # noqa: PLC0415 - imports TensorFlow
        from coincast_training.trainers.lstm.network import shared_net  # noqa: PLC0415 - as above

        inputs = self.recipe.inputs
        net = shared_net(len(inputs), self.recipe, self.seed)
        return Trainer(self.table, self.recipe, inputs, net, self.seed)


def _network_on(trainer: Trainer, day: int) -> Recurrent | None:
    """Return the network fitted on closes up to `day`; None if they are too few for its regression."""
    window = Window(trainer.rows.origins.min(), np.datetime64(day, "D"))
    try:
        return trainer.fit(window)[0]
    except ValueError:
        return None


def _fit_days(folds: Sequence[int], earliest: int, every_days: int) -> tuple[int, ...]:
    """Return folds from `earliest` on that are at least `every_days` apart, beginning with the first."""
    due: list[int] = []
    for day in folds:
        if day >= earliest and (not due or day - due[-1] >= every_days):
            due.append(day)
    return tuple(due)


def _rows(coins: Sequence[CoinRows], recipe: LstmParams) -> Rows:
    wanted = {*recipe.inputs, *TERMS}
    names = tuple(n for n in DEFAULT_SPEC.names if n in wanted)
    columns = [DEFAULT_SPEC.names.index(n) for n in names]
    horizons, many = recipe.anchors, [len(c.days) for c in coins]

    def ahead(kind: str) -> Floats:
        parts = [np.column_stack([getattr(c, kind)(h) for h in horizons]) for c in coins]
        return np.concatenate(parts)

    return Rows(
        coin_ids=tuple(c.coin_id for c in coins),
        spec=FeatureSpec(names),
        horizons=horizons,
        coin=np.repeat(np.arange(len(coins)), many),
        origins=np.concatenate([c.days for c in coins]).astype("datetime64[D]"),
        prices=np.exp(np.concatenate([c.log_close for c in coins])),
        regime=np.concatenate([c.inputs.regime for c in coins]),
        features=np.concatenate([c.inputs.features[:, columns] for c in coins]),
        returns=ahead("returns_ahead"),
        log_volatility=ahead("log_volatility_ahead") - 0.5 * np.log(np.asarray(horizons, dtype=np.float64)),
    )


def _export(network: Recurrent, recipe: LstmParams) -> RnnMember:
    return RnnMember(
        anchors=recipe.anchors,
        inputs=network.inputs,
        window_days=recipe.window_days,
        scaler=network.scaler,
        network=network.network.export(network.probe),
        line=network.line,
    )
