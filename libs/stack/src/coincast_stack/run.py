"""`make run`: the stack until Ctrl-C."""

import asyncio
import importlib.util
import signal
import time

from rich.console import Console

from coincast_stack.console import ProgressLines, sandbox_warning, say_death
from coincast_stack.errors import ChildDeathError
from coincast_stack.options import StackOptions, Upstream
from coincast_stack.readiness import wait_until_ready
from coincast_stack.stack import Stack, running_stack

READY_SECONDS = 1800.0
WATCH_SECONDS = 0.5
RESTARTS_PER_MINUTE = 3
LSTM_HINT = (
    "The lstm model is not trained here: TensorFlow (about 500 MB) is not installed. "
    "To add it:\n  .venv/bin/uv pip install --python .venv/bin/python --require-hashes "
    "-r requirements/training-lstm.txt"
)


async def run(options: StackOptions, out: Console) -> None:
    """Starts, says when it is ready, watches, and ends everything on Ctrl-C. Raises StackError."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    if options.upstream == Upstream.AUTO:
        out.print("[dim]asking CoinGecko (up to 3 s)[/]")
    async with running_stack(options) as stack:
        _say_upstream(stack, options, out)
        if importlib.util.find_spec("tensorflow") is None:
            out.print(LSTM_HINT, highlight=False)
        serving = asyncio.create_task(_serve(stack, options, out))
        stopped = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        out.print("stopping")
        if serving in done:
            serving.result()
    out.print("stopped")


async def _serve(stack: Stack, options: StackOptions, out: Console) -> None:
    await wait_until_ready(stack, options.train, ProgressLines(out), READY_SECONDS)
    _say_ready(stack, out)
    _say_later(stack, options, out)
    await _watch(stack, out)


async def _watch(stack: Stack, out: Console) -> None:
    """Names a process that dies, with its last words, and starts it anew; gives up where that goes on."""
    deaths: list[float] = []
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        try:
            stack.raise_if_dead()
        except ChildDeathError as death:
            now = time.monotonic()
            deaths = [*(at for at in deaths if at > now - 60), now]
            if len(deaths) > RESTARTS_PER_MINUTE:
                raise
            say_death(death, out)
            out.print(f"starting {death.name} again", highlight=False)
            await stack.restart(death.name)


def _say_upstream(stack: Stack, options: StackOptions, out: Console) -> None:
    if stack.layout.upstream == Upstream.COINGECKO:
        out.print("Market data: [bold]CoinGecko[/]")
    else:
        out.print(sandbox_warning(stack, str(options.data or "")))


def _say_ready(stack: Stack, out: Console) -> None:
    url, coin = stack.gateway_url, "bitcoin"
    out.print(f"\n[bold green]Coincast is ready: {url}[/]   (interface: {url}/docs)", highlight=False)
    out.print(f"  curl '{url}/prices?ids=bitcoin,ethereum&vs_currencies=usd'", highlight=False)
    out.print(f"  curl '{url}/forecasts?ids={coin}&days=7&model=lightgbm'", highlight=False)
    out.print(f"Logs: {stack.log_dir}   Ctrl-C stops everything.", highlight=False)
    if stack.layout.upstream == Upstream.SANDBOX:
        out.print("[bold red]Reminder: this is the sandbox, not real market data.[/]")


def _say_later(stack: Stack, options: StackOptions, out: Console) -> None:
    """Names the models that are still trained while the stack serves, until when others answer for them."""
    artifacts = stack.layout.state_dir / "artifacts"
    missing = [model for model in options.later if not (artifacts / model / "aliases.json").exists()]
    if missing:
        out.print(
            f"{', '.join(missing)}: trained in the background for some minutes; until then another model "
            f"answers and says so. {stack.gateway_url}/training/jobs shows how far it is.",
            highlight=False,
        )
