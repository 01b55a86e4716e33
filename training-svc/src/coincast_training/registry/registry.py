"""Registry operations: promote, roll back, retire, compare and clean versions.

Every change of an alias is a compare-and-swap on the revision of the alias table.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coincast_chassis.clock import Clock
from coincast_chassis.errors import Conflict, InvalidInput, NotReady, Unavailable
from coincast_chassis.observability.error_text import without_path
from coincast_modelkit.artifact import Aliases, ArtifactError, read_aliases
from coincast_training.domain import ALIASES, HOURLY_MODELS, AuditEntry
from coincast_training.registry import promotion_gate, rollback
from coincast_training.registry.aliases import with_alias, write_aliases
from coincast_training.registry.audit import AuditLog
from coincast_training.registry.comparison import compare_records
from coincast_training.registry.paired_tests import PairedTest, paired_tests, verdict
from coincast_training.registry.promotion_gate import GateDecision, GateTolerances
from coincast_training.registry.retirement import read_retired, write_retired
from coincast_training.registry.versions import Version, Versions
from coincast_training.registry.walk_forward_file import FILE_NAME, load_walk_forward
from coincast_training.trainers.base import WalkForward

LOCK_SECONDS = 10.0
LONGEST_REASON = 1000


@dataclass(frozen=True, slots=True)
class AliasChange:
    """The alias table after a change, and the sentence of the promotion gate."""

    table: Aliases
    verdict: str


@dataclass(frozen=True, slots=True)
class ProductionRerun:
    """Forecasts of the production version on the days of a candidate, if production has no saved ones.

    `note` describes in one sentence how they were made.
    """

    version: str
    forecasts: WalkForward
    note: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions, the tests of their shared forecasts, and the conclusion."""

    a: Version
    b: Version
    tests: list[PairedTest]
    verdict: str


class Registry:
    """The model registry in an artifact folder, which any number of processes may open."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        key: bytes | None = None,
        require_signature: bool = False,
        bounds: GateTolerances | None = None,
    ) -> None:
        self.root, self.key, self.require_signature = root, key, require_signature
        self.versions = Versions(root, key=key, require_signature=require_signature)
        self.audit = AuditLog(root / "audit.jsonl")
        self._clock, self._bounds = clock, bounds or GateTolerances()

    def table(self, model: str) -> Aliases:
        """Return the alias table of a model.

        Raises:
            NotReady: It cannot be read.
        """
        try:
            return read_aliases(self.root, model)
        except (ArtifactError, OSError) as error:
            reason = without_path(error)
            raise NotReady(
                f"The aliases of {model} cannot be read ({reason}); restore them from a backup.",
                field="model",
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of all models, which share one audit log; the system releases it if the process dies.

        Raises:
            Unavailable: Another process holds the lock for longer than LOCK_SECONDS.
            NotReady: The disk refuses a write.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / ".registry.lock").acquire(timeout=LOCK_SECONDS):
                yield
        except Timeout as error:
            raise Unavailable(
                f"The registry was locked for {LOCK_SECONDS:.0f} s by another process.", retry_after_seconds=5
            ) from error
        except OSError as error:
            raise NotReady(
                f"The disk under the registry refused the write: {without_path(error)}."
            ) from error

    def promote(
        self,
        model: str,
        version: str,
        *,
        alias: str = "production",
        share: float = 0.0,
        expected_revision: int | None = None,
        force: bool = False,
        reason: str = "",
        requested_by: str,
        rerun: ProductionRerun | None = None,
    ) -> AliasChange:
        """Set an alias to a version.

        Args:
            model: Name of the model.
            version: The new version of the alias.
            alias: One of ALIASES; only production has to pass the promotion gate.
            share: Share of the requests that a challenger answers, 0 to 1.
            expected_revision: Revision of the alias table that the caller has read; None skips the check.
            force: Promote even if the gate refuses; needs a reason.
            reason: Reason for the audit log.
            requested_by: Name of the requester, for the audit log.
            rerun: Forecasts of production on the days of the version, if production has no saved ones.

        Raises:
            InvalidInput: An argument is wrong, or `force` has no reason.
            Conflict: The revision has changed.
            NotReady: The gate refuses, or the version cannot be used.
        """
        _check_move(alias, share, force=force, reason=reason)
        with self._locked():
            before = self._at_revision(model, expected_revision)
            self._check_usable(model, version)
            decision = (
                self.evaluate(model, version, rerun=rerun)
                if alias == "production"
                else _allow_without_gate(alias)
            )
            if not decision.allowed and not force:
                raise NotReady(
                    f"{model} {version} was not promoted. {decision.sentence} "
                    "To promote it anyway, use force with a reason.",
                    field="version",
                )
            after = with_alias(before, alias, version, share)
            entry = self._entry(
                model,
                "promote",
                requested_by=requested_by,
                reason=reason or decision.sentence,
                alias=alias,
                from_version=getattr(before, alias),
                to_version=version,
                revision=after.revision,
                forced=force and not decision.allowed,
            )
            self._move(after, entry)
        return AliasChange(table=after, verdict=decision.sentence)

    def promote_if_better(
        self, model: str, version: str, *, requested_by: str, rerun: ProductionRerun | None = None
    ) -> AliasChange:
        """Promote a version to production if the gate allows it and its CRPS is better.

        Args:
            model: Name of the model.
            version: The candidate.
            requested_by: Name of the requester, for the audit log.
            rerun: Forecasts of production on the days of the candidate, if production has no saved ones.

        Raises:
            NotReady: The gate refuses, or the candidate is not better.
        """
        table, decision = self.table(model), self.evaluate(model, version, rerun=rerun)
        # If the gate refuses the version, `promote` raises with the reason of the gate.
        if decision.allowed and (version == table.production or not decision.better):
            raise NotReady(
                f"{version} is not better than {table.production}, which is in production. "
                f"{decision.sentence}",
                field="version",
            )
        return self.promote(
            model, version, expected_revision=table.revision, requested_by=requested_by, rerun=rerun
        )

    def evaluate(self, model: str, version: str, *, rerun: ProductionRerun | None = None) -> GateDecision:
        """Return the decision of the promotion gate on a version."""
        candidate, production = self.versions.get(model, version), self.table(model).production
        if production in ("", version):
            return promotion_gate.evaluate(candidate.record, None, self._bounds)
        serving = self.versions.get(model, production)
        if rerun is not None and rerun.version == production:
            tests = paired_tests(
                rerun.forecasts, self.walk_forward(model, version), hourly=model in HOURLY_MODELS
            )
        else:
            rerun, tests = None, self._paired(model, production, version)
        decision = promotion_gate.evaluate(
            candidate.record, compare_records(candidate.record, serving.record, tests), self._bounds
        )
        return replace(decision, sentence=f"{decision.sentence} {rerun.note}") if rerun else decision

    def _paired(self, model: str, version_a: str, version_b: str) -> list[PairedTest]:
        """Return the tests of the forecasts that both versions made; none if one has no saved forecasts."""
        try:
            return self._tests(model, version_a, version_b)
        except NotReady:
            return []

    def _tests(self, model: str, version_a: str, version_b: str) -> list[PairedTest]:
        a, b = self.walk_forward(model, version_a), self.walk_forward(model, version_b)
        return paired_tests(a, b, hourly=model in HOURLY_MODELS)

    def rollback(
        self, model: str, *, reason: str, requested_by: str, expected_revision: int | None = None
    ) -> Aliases:
        """Set production to the version that served before.

        Raises:
            Conflict: The revision has changed.
            NotReady: There is no earlier version.
        """
        _check_reason(reason)
        with self._locked():
            before = self._at_revision(model, expected_revision)
            target = self._version_before(model, before)
            after = with_alias(before, "production", target, 0.0)
            entry = self._entry(
                model,
                "rollback",
                requested_by=requested_by,
                reason=reason,
                alias="production",
                from_version=before.production,
                to_version=target,
                revision=after.revision,
            )
            self._move(after, entry)
        return after

    def _version_before(self, model: str, table: Aliases) -> str:
        usable = set(self.versions.names(model)) - set(read_retired(self.root, model))
        earlier = rollback.earlier_productions(self.audit.entries(model), table.revision)
        for version in earlier:
            if version in usable and version != table.production:
                return version
        raise NotReady(f"{model} has no earlier production version to return to.", field="model")

    def retire(self, model: str, version: str, *, reason: str, requested_by: str) -> Version:
        """Mark a version as retired, so that it cannot be promoted.

        Raises:
            Conflict: An alias names the version.
        """
        _check_reason(reason)
        with self._locked():
            table = self.table(model)
            self.versions.get(model, version)
            if names := aliases_of(table, version):
                raise Conflict(
                    f"{model} {version} is {' and '.join(names)}; set that alias to another version first.",
                    field="version",
                )
            self.audit.append(
                self._entry(
                    model,
                    "retire",
                    requested_by=requested_by,
                    reason=reason,
                    alias="",
                    from_version=version,
                    to_version="",
                    revision=table.revision,
                )
            )
            write_retired(self.root, model, version, at=self._clock.now(), reason=reason)
        return self.versions.get(model, version)

    def compare(self, model: str, version_a: str, version_b: str) -> Comparison:
        """Compare two versions by their records and by paired tests of the forecasts that both made.

        Raises:
            NotReady: A version has no walk-forward forecasts.
        """
        a, b = self.versions.get(model, version_a), self.versions.get(model, version_b)
        tests = self._tests(model, version_a, version_b)
        return Comparison(a=a, b=b, tests=tests, verdict=verdict(version_a, version_b, tests))

    def walk_forward(self, model: str, version: str) -> WalkForward:
        """Read the out-of-sample forecasts of a version.

        Raises:
            NotReady: The version has none.
        """
        files = self.versions.verified(model, version)
        if FILE_NAME not in files:
            raise NotReady(f"{model} {version} has no walk-forward forecasts.", field="version")
        return load_walk_forward(files[FILE_NAME])

    def clean(self, model: str, *, keep: int, requested_by: str) -> list[str]:
        """Remove old versions; keep the newest `keep`, and those that have an alias or that a rollback needs.

        Raises:
            InvalidInput: `keep` is below 1.
        """
        if keep < 1:
            raise InvalidInput(f"keep must be at least 1; it is {keep}.", field="keep")
        with self._locked():
            table = self.table(model)
            names = self.versions.names(model)
            kept = {*names[-keep:], table.production, table.challenger, table.shadow}
            kept.update(list(rollback.earlier_productions(self.audit.entries(model), table.revision))[:1])
            removed = [version for version in names if version not in kept]
            for version in removed:
                self.audit.append(
                    self._entry(
                        model,
                        "clean",
                        requested_by=requested_by,
                        reason=f"keeps the newest {keep}",
                        alias="",
                        from_version=version,
                        to_version="",
                        revision=table.revision,
                    )
                )
                _remove(self.root / model / version)
        return removed

    def _at_revision(self, model: str, expected: int | None) -> Aliases:
        table = self.table(model)
        if expected is not None and expected != table.revision:
            raise Conflict(
                f"The aliases of {model} are at revision {table.revision}, not {expected}: "
                "they have changed since. Read them again, then decide.",
                field="expected_revision",
            )
        return table

    def _check_usable(self, model: str, version: str) -> None:
        self.versions.verified(model, version)
        if version in read_retired(self.root, model):
            raise NotReady(f"{model} {version} is retired.", field="version")

    def _move(self, after: Aliases, entry: AuditEntry) -> None:
        """Write the audit log first, then the table.

        After a crash in between, the revision of the entry is above that of the table. From this, readers
        know that the change was not made.
        """
        self.audit.append(entry)
        write_aliases(self.root, entry.model, after)

    def _entry(self, model: str, action: str, *, requested_by: str, reason: str, **fields: Any) -> AuditEntry:
        """Return an entry of the audit log with the current time."""
        return AuditEntry(
            at=self._clock.now(),
            requested_by=requested_by or "unknown",
            model=model,
            action=action,
            reason=reason[:LONGEST_REASON],
            **fields,
        )


def aliases_of(table: Aliases, version: str) -> list[str]:
    """Return the aliases of a version."""
    return [alias for alias in ALIASES if getattr(table, alias) == version]


def _allow_without_gate(alias: str) -> GateDecision:
    return GateDecision(True, f"The gate applies only to production; {alias} was changed.")


def _check_move(alias: str, share: float, *, force: bool, reason: str) -> None:
    if alias not in ALIASES:
        raise InvalidInput(f"alias must be one of {', '.join(ALIASES)}; it is {alias!r}.", field="alias")
    if not 0 <= share <= 1:
        raise InvalidInput(f"share must be 0 to 1; it is {share}.", field="share")
    if share and alias != "challenger":
        raise InvalidInput(f"share applies only to the challenger, not to {alias}.", field="share")
    if force:
        _check_reason(reason)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("reason must say why, for the audit log.", field="reason")


def _remove(folder: Path) -> None:
    """Rename the folder and then delete it, so that no reader sees a version with missing files."""
    trash = folder.with_name(f".trash-{folder.name}")
    shutil.rmtree(trash, ignore_errors=True)
    folder.rename(trash)
    shutil.rmtree(trash)
