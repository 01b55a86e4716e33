"""One part of the system as the health page shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "degraded", "down"]
_ORDER: tuple[Status, ...] = ("ok", "degraded", "down")


@dataclass(frozen=True, slots=True)
class Component:
    """A status, a sentence that a person understands, and the figures behind it."""

    name: str
    status: Status
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        return {"name": self.name, "status": self.status, "sentence": self.sentence, "figures": self.figures}


def worst(components: list[Component]) -> Status:
    """The overall status: a part that is down degrades the whole; with no data service up it is down."""
    statuses = {component.name: component.status for component in components}
    if statuses.get("market-data") == statuses.get("forecast") == "down":
        return "down"
    return "ok" if set(statuses.values()) <= {"ok"} else "degraded"


def assess(name: str, complaints: list[str], fine: str, figures: dict[str, Any]) -> Component:
    """A component that answers: degraded where there is something to complain of."""
    if complaints:
        return Component(name, "degraded", " ".join(complaints), figures)
    return Component(name, "ok", fine, figures)
