"""While histories are fetched, the job says what market data fetches."""

from __future__ import annotations

import asyncio

import pytest

from coincast_training.trainers.progress import fetch_reported

QUICK = 0.001


class Source:
    """Says one thing after the other, the last one again and again."""

    def __init__(self, *words: str) -> None:
        self._words = list(words)
        self._left = len(words) + 3
        self.asked_enough = asyncio.Event()

    async def fetching(self) -> str:
        self._left -= 1
        if self._left <= 0:
            self.asked_enough.set()
        return self._words.pop(0) if len(self._words) > 1 else self._words[0]


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        (["a, 4 calls left", "a, 4 calls left", "b, 3 calls left"], ["a, 4 calls left", "b, 3 calls left"]),
        (["", "a", "", "a"], ["a", "a"]),
        ([""], []),
    ],
)
async def test_each_change_is_a_stage(words: list[str], stages: list[str]) -> None:
    source, reported = Source(*words), list[str]()
    async with fetch_reported(source, lambda _, stage: reported.append(stage), every_seconds=QUICK):
        await asyncio.wait_for(source.asked_enough.wait(), 10)
    assert reported == [f"fetching {each}" for each in stages]
    source.asked_enough.clear()
    await asyncio.sleep(5 * QUICK)
    assert not source.asked_enough.is_set(), "nothing is asked after the fetch"


async def test_a_source_that_does_not_say_it_is_left_alone() -> None:
    reported: list[str] = []
    async with fetch_reported(object(), lambda _, stage: reported.append(stage), every_seconds=QUICK):
        await asyncio.sleep(5 * QUICK)
    assert reported == []
