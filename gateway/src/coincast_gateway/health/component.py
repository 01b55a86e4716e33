"""A component of the system on the health page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from coincast_gateway.serialization import iso_seconds

Status = Literal["ok", "degraded", "down"]
_ORDER: tuple[Status, ...] = ("ok", "degraded", "down")


@dataclass(frozen=True, slots=True)
class Component:
    """A component with its status, a sentence for people, and the figures that the status is based on."""

    name: str
    status: Status
    sentence: str
    figures: dict[str, Any] = field(default_factory=dict)
    # When the status ceased to be `ok`, UNIX seconds; None while it is `ok`.
    since: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the component as a JSON object."""
        return {
            "name": self.name,
            "status": self.status,
            "since": None if self.since is None else iso_seconds(int(self.since)),
            "sentence": self.sentence,
            "figures": self.figures,
        }


def worst(components: list[Component]) -> Status:
    """Return the overall status.

    It is `down` if market-data and forecast are both down, and `degraded` if any component is not `ok`.
    """
    statuses = {component.name: component.status for component in components}
    if statuses.get("market-data") == statuses.get("forecast") == "down":
        return "down"
    return "ok" if set(statuses.values()) <= {"ok"} else "degraded"


def assess(name: str, complaints: list[str], fine: str, figures: dict[str, Any]) -> Component:
    """Return the status of a component that answers.

    Args:
        name: The name of the component.
        complaints: Sentences about problems; with any of them the component is degraded.
        fine: The sentence without problems.
        figures: The figures of the component.
    """
    if complaints:
        return Component(name, "degraded", " ".join(complaints), figures)
    return Component(name, "ok", fine, figures)
