"""The Redis executor: time lost per caller, released waiters, and when the circuit closes again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import redis.exceptions

from coincast_market_data import redis_executor
from coincast_market_data.redis_executor import COMMANDS_PER_REQUEST, RedisExecutor

LONG = 30.0


class FakeRedis:
    """Answers, hangs or breaks."""

    def __init__(self) -> None:
        self.stopped = False
        self.error: Exception | None = None
        self.requested = 0

    def word(self, answer: str = "yes", seconds: float = 0.0) -> Callable[[], Awaitable[str]]:
        async def command() -> str:
            self.requested += 1
            if self.error:
                raise self.error
            await (asyncio.sleep(LONG) if self.stopped else asyncio.sleep(seconds))
            return answer

        return command

    async def probe(self) -> bool:
        if self.error:
            raise self.error
        if self.stopped:
            raise redis.exceptions.TimeoutError
        return True


async def close(executor: RedisExecutor) -> None:
    for task in list(executor._running):
        task.cancel()
    await executor.aclose()


@pytest.mark.slow
async def test_a_request_of_three_words_loses_no_more_than_the_patience() -> None:
    """Whenever the stop comes, what is lost is one word's part: the rest of the request passes Redis by."""
    for answered in range(COMMANDS_PER_REQUEST):
        fake = FakeRedis()
        executor = RedisExecutor(fake.probe, wait_budget_seconds=3.0)
        for _ in range(answered):
            assert await executor.execute("word", fake.word()) == "yes"
        fake.stopped = True
        started = time.monotonic()
        for _ in range(COMMANDS_PER_REQUEST - answered):
            assert await executor.execute("word", fake.word()) is None
        assert time.monotonic() - started >= 1.0, "it did wait for the first"
        assert fake.requested == answered + 1, "and for the first only"
        assert not executor.up
        await close(executor)


async def test_words_that_are_all_slow_are_within_the_patience_together() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=9.0)
    assert [await executor.execute("word", fake.word(seconds=0.05)) for _ in range(3)] == ["yes"] * 3
    assert executor._timeout_seconds * COMMANDS_PER_REQUEST == pytest.approx(9.0)
    await close(executor)


async def test_the_first_late_word_lets_all_others_go() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=1.5)
    fake.stopped = True
    first = asyncio.create_task(executor.execute("first", fake.word()))
    await asyncio.sleep(0.3)
    others = [asyncio.create_task(executor.execute("other", fake.word())) for _ in range(50)]
    await first
    for _ in range(20):  # turns of the event loop, in which no time of its own can pass for any of them
        await asyncio.sleep(0)
    assert [other.done() for other in others] == [True] * 50
    assert await asyncio.gather(*others) == [None] * 50
    assert executor.errors == 1, "counted once, not fifty times"
    await close(executor)


async def test_it_opens_again_by_itself_when_a_probe_is_answered() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=0.15, pause_seconds=0.02)
    fake.error = redis.exceptions.ConnectionError("refused")
    assert await executor.execute("word", fake.word()) is None
    for _ in range(20):
        assert await executor.execute("word", fake.word()) is None
    assert fake.requested == 1, "no caller waits for the probe"
    fake.error = None
    for _ in range(500):
        if executor.up:
            break
        await asyncio.sleep(0.02)
    assert await executor.execute("word", fake.word()) == "yes"
    await close(executor)


async def test_a_stall_of_this_process_is_not_redis() -> None:
    """The reply has arrived while the loop was busy elsewhere for longer than the patience."""
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=0.03)
    word = asyncio.create_task(executor.execute("word", fake.word(seconds=0.001)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - the stall
    assert await word == "yes"
    assert executor.up
    await close(executor)


async def test_a_refusal_is_counted_and_the_gate_stays_open() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=3.0)
    fake.error = redis.exceptions.ResponseError("OOM command not allowed")
    assert await executor.execute("write", fake.word()) is None
    fake.error = None
    assert await executor.execute("read", fake.word()) == "yes"
    assert executor.errors == 1
    await close(executor)


async def test_submitted_commands_are_bounded_and_open_the_circuit_too() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=3.0)
    fake.stopped = True
    for _ in range(redis_executor.MOST_SUBMITTED + 7):
        executor.submit("write", fake.word())
    await asyncio.sleep(0.05)
    assert executor.errors == 7, "more than can wait are dropped and counted"
    assert fake.requested == redis_executor.AT_ONCE
    await close(executor)
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe)
    fake.error = redis.exceptions.ConnectionError("reset")
    executor.submit("write", fake.word())
    await asyncio.sleep(0.05)
    assert not executor.up or executor.errors >= 1
    await close(executor)


async def test_a_fault_of_our_own_is_raised() -> None:
    fake = FakeRedis()
    executor = RedisExecutor(fake.probe, wait_budget_seconds=3.0)
    fake.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await executor.execute("word", fake.word())
    assert executor.up
    await close(executor)
