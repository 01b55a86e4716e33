"""Find earlier production versions in the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coincast_training.domain import AuditEntry


def earlier_productions(entries: Iterable[AuditEntry], revision: int) -> Iterator[str]:
    """Return the earlier production versions that a rollback can return to, the latest first.

    After a rollback, the version that it left is not in the result: a second rollback goes further back. If
    several entries have the same revision, only the last one was made. An entry with a revision above
    `revision` was not made.

    Args:
        entries: Entries of the audit log, all of one model.
        revision: Revision of the alias table.
    """
    moves = {entry.revision: entry for entry in entries if entry.alias}
    history: list[str] = []
    for number in sorted(moves):
        entry = moves[number]
        if number > revision or entry.alias != "production":
            continue
        if entry.action == "rollback":
            while history and history[-1] != entry.to_version:
                history.pop()
        if not history or history[-1] != entry.to_version:
            history.append(entry.to_version)
    return reversed(history[:-1])
