"""Turning a request away, in the words of whichever interface it came to."""

from __future__ import annotations

from coincast_gateway.asgi_types import Scope, Send
from coincast_gateway.coingecko_compat.app import send_compat_error
from coincast_gateway.coingecko_compat.errors import CompatError
from coincast_gateway.coingecko_compat.routes import PREFIX
from coincast_gateway.errors.problems import Problem
from coincast_gateway.serving.dispatch import send_problem


async def send_refusal(problem: Problem, scope: Scope, send: Send) -> None:
    """A problem, or below /api/v3 an error as CoinGecko would send it."""
    if not scope["path"].startswith(PREFIX):
        await send_problem(problem, scope, send)
        return
    error = CompatError(
        problem.kind.status, "status", problem.detail, retry_after=problem.retry_after_seconds
    )
    await send_compat_error(error, send)
