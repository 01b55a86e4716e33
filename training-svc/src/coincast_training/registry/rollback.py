"""Which versions were production before, read from the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coincast_training.domain import AuditEntry


def earlier_productions(entries: Iterable[AuditEntry], revision: int) -> Iterator[str]:
    """The versions that a rollback would go to, nearest first.

    A rollback takes the newest off the pile, so that a second one goes further back and not forth again.
    The entries are all of one model's: of several moves with one revision, whatever their alias, only the
    last was made; one beyond the table's revision never was.
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
