"""Shapes of health replies."""

from typing import Literal

from coincast_gateway.models.common import Shape


class Live(Shape):
    """The process answers."""

    status: Literal["alive"]
    version: str


class Check(Shape):
    """One thing that must hold before the gateway is ready."""

    name: str
    ready: bool
    reason: str


class Ready(Shape):
    """Everything that a forecast needs is there."""

    status: Literal["ready"]
    checks: list[Check]
