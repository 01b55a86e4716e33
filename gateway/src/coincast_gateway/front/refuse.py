"""Turning a request away, in the words of whichever interface it came to."""

from coincast_gateway.mirror.app import send_mirror_error
from coincast_gateway.mirror.errors import MirrorError
from coincast_gateway.mirror.paths import PREFIX
from coincast_gateway.problems import Problem
from coincast_gateway.serving.asgi import Scope, Send
from coincast_gateway.serving.dispatch import send_problem


async def send_refusal(problem: Problem, scope: Scope, send: Send) -> None:
    """A problem, or below /api/v3 an error as CoinGecko would send it."""
    if not scope["path"].startswith(PREFIX):
        await send_problem(problem, scope, send)
        return
    error = MirrorError(
        problem.kind.status, "status", problem.detail, retry_after=problem.retry_after_seconds
    )
    await send_mirror_error(error, send)
