"""`make run`: run all services until Ctrl-C."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import time
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from coincast_chassis.resilience.cancellation import cancel_and_wait
from coincast_stack.console import (
    ProgressBar,
    ProgressLines,
    UpstreamProblems,
    sandbox_warning,
    start_progress,
)
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.processes.probes import as_json, get
from coincast_stack.processes.supervisor import Supervisor
from coincast_stack.stack import Launch, Stack, describe, running_stack
from coincast_stack.state_file import published_for_user
from coincast_stack.status.market import MarketWatch
from coincast_stack.status.readiness import wait_until_ready
from coincast_stack.upstream.check import HAND_OVER_SECONDS, UpstreamCheck

READY_SECONDS = 1800.0
# Intervals of polling the upstream's status: short during the start, so that a problem is printed at once.
START_POLL_SECONDS = 0.5
CALM_POLL_SECONDS = 5.0
# Lines about rows that are not used; of more, the rest is at the sandbox's health.
MAX_UNUSED_LINES = 30
LSTM_HINT = (
    "The lstm model is not trained here: TensorFlow is not installed. make setup-lstm adds it (500 MB)."
)


async def run(
    options: StackOptions,
    out: Console,
    check: UpstreamCheck | None = None,
    *,
    launch: Launch = running_stack,
) -> None:
    """Start all services, report when they are ready, supervise them, and stop them on Ctrl-C.

    Args:
        options: What to start.
        out: The terminal.
        check: The check of CoinGecko that began before, which prints what it finds.
        launch: Starts the stack.

    Raises:
        StackError: The stack cannot start or cannot continue.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if options.upstream == Upstream.AUTO:
        out.print("[dim]checking whether CoinGecko answers (up to 3 s)[/]")
    problems = UpstreamProblems(out)
    if check is not None:
        noted = asyncio.create_task(_note_check(check, problems))
        await asyncio.wait({noted}, timeout=HAND_OVER_SECONDS)
        options = replace(options, extra_environment=check.hand_over(options.extra_environment))
    async with launch(options) as stack:
        say_upstream(stack, options, out)
        await say_unused_rows(stack, out)
        if importlib.util.find_spec("tensorflow") is None:
            out.print(LSTM_HINT, highlight=False)
        with published_for_user(describe(stack)):
            await _until_stopped(stack, options, out, stopping, problems)
        out.print("stopping")
    out.print("stopped")


async def _note_check(check: UpstreamCheck, problems: UpstreamProblems) -> None:
    """Note what the first check of CoinGecko has said, so that it is not repeated."""
    problem = await asyncio.wrap_future(check.outcome)
    if problem is not None:
        problems.note_shown(problem.cause)


async def _until_stopped(
    stack: Stack,
    options: StackOptions,
    out: Console,
    stopping: asyncio.Event,
    problems: UpstreamProblems,
) -> None:
    """Run until a signal arrives; raise an error of the supervisor or of the wait for readiness."""
    stopped = asyncio.create_task(stopping.wait())
    supervisor = Supervisor(
        stack, lambda text: out.print(text, style="bold red", markup=False, soft_wrap=True)
    )
    work = {
        asyncio.create_task(supervisor.run()),
        asyncio.create_task(_announce(stack, options, out, problems)),
    }
    try:
        waiting = {*work, stopped}
        while not stopped.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                _raise_first(task)
    finally:
        await cancel_and_wait({*work, stopped})


def _raise_first(task: asyncio.Task[Any]) -> None:
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


async def _announce(stack: Stack, options: StackOptions, out: Console, problems: UpstreamProblems) -> None:
    began = time.monotonic()
    async with MarketWatch(stack.target("market")) as watch:
        with start_progress(out) as progress:
            upstream = asyncio.create_task(_show_upstream(watch, problems, START_POLL_SECONDS, progress))
            try:
                await wait_until_ready(stack, options.train, progress, READY_SECONDS, supervised=True)
            finally:
                await cancel_and_wait({upstream})
        _say_ready(stack, options, out, seconds=time.monotonic() - began)
        _say_later(stack, options, out)
        # Polling continues: with an archive the system is ready before it calls the upstream, and a key may
        # expire.
        await _show_upstream(watch, problems, CALM_POLL_SECONDS)


async def _show_upstream(
    watch: MarketWatch,
    problems: UpstreamProblems,
    poll_seconds: float,
    progress: ProgressBar | ProgressLines | None = None,
) -> None:
    """Show the upstream's work and its problems until cancelled."""
    while True:
        view = await watch.view()
        if progress is not None:
            progress.show_upstream(view)
        problems.show(view)
        await asyncio.sleep(poll_seconds)


def say_upstream(stack: Stack, options: StackOptions, out: Console) -> None:
    """Name the source of market data; warn if it is the sandbox."""
    if stack.layout.upstream == Upstream.COINGECKO:
        out.print("Market data: [bold]CoinGecko[/]")
    else:
        out.print(sandbox_warning(stack, str(options.data or "")))


async def say_unused_rows(stack: Stack, out: Console) -> None:
    """Name the rows and files of DATA that the sandbox does not use, with file and line."""
    if stack.layout.sandbox is None:
        return
    _, body = await get(f"{stack.sandbox_url}/sandbox/health")
    found = as_json(body)
    unused = found.get("set_aside", []) if isinstance(found, dict) else []
    for line in unused[:MAX_UNUSED_LINES]:
        out.print(f"not used: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    further = len(unused) - MAX_UNUSED_LINES
    if further > 0:
        text = f"not used: {further} further rows or files; {stack.sandbox_url}/sandbox/health has all"
        out.print(text, style="yellow", markup=False)


def _say_ready(stack: Stack, options: StackOptions, out: Console, *, seconds: float) -> None:
    url, coin = stack.gateway_url, "bitcoin"
    out.print(
        f"\n[bold green]Coincast is ready: {url}[/]   (interface: {url}/docs; started in {seconds:.0f} s)",
        highlight=False,
    )
    out.print(f"  curl '{url}/prices?ids=bitcoin,ethereum&vs_currencies=usd'", highlight=False)
    out.print(f"  curl '{url}/forecasts?ids={coin}&days=7&model=lightgbm'", highlight=False)
    if options.admin_token:
        out.print(f"Admin token (X-API-Key of administrative routes): {options.admin_token}", highlight=False)
    out.print(f"Logs: {escape(str(stack.log_dir))}   Ctrl-C stops everything.", highlight=False)
    if stack.layout.upstream == Upstream.SANDBOX:
        out.print("[bold red]Reminder: this is the sandbox, not real market data.[/]")


def _say_later(stack: Stack, options: StackOptions, out: Console) -> None:
    """Print the models that are trained while the stack serves; other models replace them until then."""
    artifacts = stack.layout.state_dir / "artifacts"
    missing = [model for model in options.later if not (artifacts / model / "aliases.json").exists()]
    if missing:
        out.print(
            f"{', '.join(missing)}: trained in the background for some minutes; until then another model "
            f"answers and says so. {stack.gateway_url}/training/jobs shows the progress.",
            highlight=False,
        )
