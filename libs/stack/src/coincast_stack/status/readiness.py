"""Wait for readiness: services answer, and the first models are trained and loaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from coincast_stack.errors import StackError
from coincast_stack.processes.probes import as_json, get
from coincast_stack.stack import Stack
from coincast_stack.status.training import JobView, TrainingWatch

POLL_SECONDS = 0.25
# The training service retries a failed first training twice within this time.
FAILED_FOR_SECONDS = 30.0
Progress = Callable[[str, float | None], None]


async def wait_until_ready(
    stack: Stack,
    models: tuple[str, ...],
    progress: Progress,
    limit_seconds: float,
    *,
    supervised: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until the gateway is ready and the forecast service serves a version of every model.

    Args:
        stack: The running stack.
        models: Models that must be served.
        progress: Called with a sentence and the progress (0 to 1), None if that is unknown.
        limit_seconds: Time limit of the wait.
        supervised: True if a supervisor restarts processes that end; their end is then no error.
        monotonic: Clock; replaced by tests.

    Raises:
        ChildDeathError: A process ended and there is no supervisor.
        StackError: A training keeps failing, or the time limit is reached.
    """
    async with TrainingWatch(stack.target("training")) as watch:
        waiting = _MissingParts(stack, watch, models, monotonic)
        deadline = monotonic() + limit_seconds
        while missing := await waiting.missing():
            text, share = missing
            progress(text, share)
            if not supervised:
                stack.raise_if_dead()
            if monotonic() > deadline:
                raise StackError(
                    f"not ready after {limit_seconds:.0f} s: {text}; logs are in {stack.log_dir}"
                )
            await asyncio.sleep(POLL_SECONDS)


async def served_models(stack: Stack) -> set[str]:
    """Return the models of which the forecast service serves a version, from the gateway's list."""
    _, body = await get(f"{stack.gateway_url}/forecasts/models")
    document = as_json(body)
    listed = document.get("models", []) if isinstance(document, dict) else []
    return {str(entry.get("model") or entry.get("name")) for entry in listed if entry.get("version")}


class _MissingParts:
    """Finds the first part of a stack that is not ready yet, and describes it."""

    def __init__(
        self,
        stack: Stack,
        watch: TrainingWatch,
        models: tuple[str, ...],
        monotonic: Callable[[], float],
    ) -> None:
        self._stack = stack
        self._watch = watch
        self._models = models
        self._monotonic = monotonic
        self._failing_since: float | None = None

    async def missing(self) -> tuple[str, float | None] | None:
        for model in self._models:
            if not (self._stack.layout.state_dir / "artifacts" / model / "aliases.json").exists():
                return self._training_state(model, await self._watch.newest(model))
        status, body = await get(f"{self._stack.gateway_url}/health/ready")
        if status != 200:
            return _gateway_state(status, body), None
        served = await served_models(self._stack)
        loading = [model for model in self._models if model not in served]
        return (f"loading {', '.join(loading)}", None) if loading else None

    def _training_state(self, model: str, job: JobView | None) -> tuple[str, float | None]:
        if job is None:
            return f"{model}: waiting for the training service", None
        if not job.failed:
            self._failing_since = None
            return f"{model}: {job.stage or 'training'}", job.progress
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since > FAILED_FOR_SECONDS:
            raise StackError(f"training {model} failed: {job.error or 'no reason given'}")
        return f"{model}: training failed ({job.error}); waiting for the next attempt", None


def _gateway_state(status: int, body: bytes) -> str:
    if status == 0:
        return "waiting for the gateway"
    document = as_json(body)
    reason = document.get("detail") or document.get("reason") if isinstance(document, dict) else ""
    return f"gateway: {reason or 'not ready yet'}"
