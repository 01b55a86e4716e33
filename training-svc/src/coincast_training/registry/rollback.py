"""Find earlier production versions in the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coincast_training.domain import AuditEntry


def earlier_productions(entries: Iterable[AuditEntry], revision: int) -> Iterator[str]:
    """Yield the versions that a rollback would return to, nearest first.

    A rollback removes the newest, so that a second one goes further back and does not return to it. The
    entries are all of one model. Of several moves with one revision, whatever their alias, only the last was
    made; a move beyond the table's revision was not.
    """
    moves = {entry.revision: entry for entry in entries if entry.alias}
    pile: list[str] = []
    for number in sorted(moves):
        entry = moves[number]
        if number > revision or entry.alias != "production":
            continue
        if entry.action == "rollback":
            while pile and pile[-1] != entry.to_version:
                pile.pop()
        if not pile or pile[-1] != entry.to_version:
            pile.append(entry.to_version)
    return reversed(pile[:-1])
