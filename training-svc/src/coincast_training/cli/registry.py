"""The commands `registry ...` for versions and aliases; they work directly on the artifact folder."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.console import Group

from coincast_modelkit.artifact import Aliases
from coincast_training.cli import options
from coincast_training.cli.output import plain, reported, show, table_of
from coincast_training.cli.train import record_table
from coincast_training.domain import TRAINED_MODELS
from coincast_training.pipeline.factory import open_registry
from coincast_training.registry.registry import Registry, aliases_of

app = typer.Typer(
    rich_markup_mode=None,
    help="Versions and aliases: list, compare, promote, rollback, retire, clean, audit.",
    no_args_is_help=True,
)

Revision = Annotated[
    int | None,
    typer.Option(
        "--revision",
        help="Expected revision of the aliases, as `registry list` prints it: the command fails if they have"
        " changed since; the default is the revision at the start of the command.",
        metavar="N",
    ),
]


def opened(artifacts: options.Artifacts) -> Registry:
    """Open the registry of the given folder."""
    return open_registry(options.settings_with(artifacts=artifacts))


@app.command("list")
@reported
def list_versions(
    *,
    model: str = typer.Option("", "--model", help="Only this model.", metavar="NAME"),
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """List versions with their measured skill, their aliases and the revision of the aliases."""
    registry = opened(artifacts)
    tables = {name: registry.table(name) for name in ([model] if model else TRAINED_MODELS)}
    found = [
        (version, aliases_of(table, version.version), table)
        for name, table in tables.items()
        for version in registry.versions.list(name)
    ]
    rows = []
    for version, aliases, table in found:
        first = version.record.horizons[0] if version.record.horizons else None
        rows.append(
            (
                version.model,
                version.version,
                _alias_names(aliases, table) + (" retired" if version.retired else ""),
                _day(version.created_at),
                f"{version.data_from_date}..{version.data_to_date}",
                len(version.coins),
                first.crps_skill_percent if first else None,
                "yes" if version.signed else "no",
            )
        )
    columns = ("model", "version", "alias", "created", "data", "coins", "CRPS skill % 1 d", "signed")
    value = [
        plain(version)
        | {"aliases": aliases, "revision": table.revision, "challenger_share": table.challenger_share}
        for version, aliases, table in found
    ]
    revisions = [f"{name}: aliases at revision {table.revision}" for name, table in tables.items()]
    show(value, as_json, lambda: Group(table_of("Versions", columns, rows), *revisions))


def _alias_names(aliases: list[str], table: Aliases) -> str:
    """Return the aliases, with the traffic share of a challenger."""
    shares = {"challenger": f" {table.challenger_share:.0%}"}
    return ", ".join(alias + shares.get(alias, "") for alias in aliases)


@app.command()
@reported
def compare(
    a: Annotated[str, typer.Argument(help="The first version, such as v000001.", metavar="VERSION")],
    b: Annotated[str, typer.Argument(help="The second version.", metavar="VERSION")],
    *,
    model: options.Model = "lightgbm",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare two versions, with Diebold-Mariano tests on the forecasts that both made."""
    comparison = opened(artifacts).compare(model, a, b)
    rows = [
        (
            t.horizon_days or f"{t.horizon_hours} h",
            t.loss,
            t.forecasts,
            f"{t.mean_loss_a:.5f}",
            f"{t.mean_loss_b:.5f}",
            t.statistic,
            t.p_value,
        )
        for t in comparison.tests
    ]
    columns = ("days", "loss", "forecasts", a, b, "statistic", "p")
    show(
        comparison,
        as_json,
        lambda: Group(
            record_table(a, comparison.a.record),
            record_table(b, comparison.b.record),
            table_of("Paired tests (positive: the second is better)", columns, rows),
            comparison.verdict,
        ),
    )


@app.command()
@reported
def promote(
    version: Annotated[str, typer.Argument(help="The version, such as v000001.", metavar="VERSION")],
    *,
    model: options.Model = "lightgbm",
    alias: str = typer.Option(
        "production", "--alias", help="production, challenger or shadow.", metavar="ALIAS"
    ),
    share: float = typer.Option(
        0.0, "--share", help="Traffic share of a challenger, 0 to 1.", metavar="SHARE"
    ),
    revision: Revision = None,
    force: bool = typer.Option(False, "--force", help="Override the promotion gate; needs --reason."),
    reason: options.Reason = "",
    by: options.Who = "cli",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Point an alias at a version. For production, the version has to pass the promotion gate."""
    registry = opened(artifacts)
    moved = registry.promote(
        model,
        version,
        alias=alias,
        share=share,
        expected_revision=_expected(registry, model, revision),
        force=force,
        reason=reason,
        requested_by=by,
    )
    show(
        moved,
        as_json,
        lambda: f"{model}: {alias} is {version} (revision {moved.table.revision}). {moved.verdict}",
    )


@app.command()
@reported
def rollback(
    *,
    model: options.Model = "lightgbm",
    revision: Revision = None,
    reason: options.Reason = "",
    by: options.Who = "cli",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Return production to the previous version."""
    registry = opened(artifacts)
    table = registry.rollback(
        model, reason=reason, requested_by=by, expected_revision=_expected(registry, model, revision)
    )
    show(table, as_json, lambda: f"{model}: production is {table.production} (revision {table.revision}).")


def _expected(registry: Registry, model: str, revision: int | None) -> int:
    """Return the given revision, or the current one, so that a concurrent change is detected."""
    return registry.table(model).revision if revision is None else revision


@app.command()
@reported
def retire(
    version: Annotated[str, typer.Argument(help="The version, such as v000001.", metavar="VERSION")],
    *,
    model: options.Model = "lightgbm",
    reason: options.Reason = "",
    by: options.Who = "cli",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Retire a version; refused if an alias points to it."""
    retired = opened(artifacts).retire(model, version, reason=reason, requested_by=by)
    show(retired, as_json, lambda: f"{model} {version} is retired.")


@app.command()
@reported
def clean(
    *,
    model: options.Model = "lightgbm",
    keep: int | None = typer.Option(
        None,
        "--keep",
        help="Number of newest versions to keep; by default TRAINING_KEEP_VERSIONS.",
        metavar="N",
    ),
    by: options.Who = "cli",
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove old versions, except those with an alias and those that a rollback needs."""
    settings = options.settings_with(artifacts=artifacts)
    wanted = settings.keep_versions if keep is None else keep
    removed = open_registry(settings).clean(model, keep=wanted, requested_by=by)
    show({"removed": removed}, as_json, lambda: f"Removed {', '.join(removed) or 'nothing'}.")


@app.command()
@reported
def audit(
    *,
    model: str = typer.Option("", "--model", help="Only this model.", metavar="NAME"),
    limit: int = typer.Option(50, "--limit", min=1, help="Number of newest entries.", metavar="N"),
    artifacts: options.Artifacts = None,
    as_json: options.AsJson = False,
) -> None:
    """List the changes of aliases, newest first: who, when and why."""
    entries = list(opened(artifacts).audit.entries(model))[: -limit - 1 : -1]
    rows = [
        (
            _day(e.at),
            e.requested_by,
            e.model,
            e.action,
            e.alias,
            e.from_version,
            e.to_version,
            e.revision,
            e.reason,
        )
        for e in entries
    ]
    columns = ("at", "by", "model", "action", "alias", "from", "to", "revision", "reason")
    show(entries, as_json, lambda: table_of("Audit log", columns, rows))


def _day(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M")
