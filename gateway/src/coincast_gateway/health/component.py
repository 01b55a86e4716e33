"""One component of the system as the health page shows it."""

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
        """Return the component as a JSON object."""
        return {"name": self.name, "status": self.status, "sentence": self.sentence, "figures": self.figures}


def worst(components: list[Component]) -> Status:
    """Return the overall status: degraded by a component that is down, down with no data service up."""
    statuses = {component.name: component.status for component in components}
    if statuses.get("market-data") == statuses.get("forecast") == "down":
        return "down"
    return "ok" if set(statuses.values()) <= {"ok"} else "degraded"


def assess(name: str, complaints: list[str], fine: str, figures: dict[str, Any]) -> Component:
    """Return a component that answers: degraded where there are complaints."""
    if complaints:
        return Component(name, "degraded", " ".join(complaints), figures)
    return Component(name, "ok", fine, figures)
