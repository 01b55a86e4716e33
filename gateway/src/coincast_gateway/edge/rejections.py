"""Rejections before routing, in the error format of the API that the path belongs to."""

from __future__ import annotations

from coincast_gateway.asgi_types import Receive, Scope, Send
from coincast_gateway.coingecko_compat.app import send_compat_error
from coincast_gateway.coingecko_compat.errors import CompatError
from coincast_gateway.coingecko_compat.routes import PREFIX
from coincast_gateway.errors.handlers import ProblemResponse
from coincast_gateway.errors.problems import Problem


async def send_rejection(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a problem, or below /api/v3 an error as CoinGecko would send it."""
    if not scope["path"].startswith(PREFIX):
        await ProblemResponse(problem)(scope, receive, send)
        return
    error = CompatError(
        problem.kind.status, "status", problem.detail, retry_after=problem.retry_after_seconds
    )
    await send_compat_error(error, send)
