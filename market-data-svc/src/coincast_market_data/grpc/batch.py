"""Batches of price requests in one call, of which each is answered as soon as its response is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from coincast.market.v1 import market_pb2 as pb
from coincast_chassis import context
from coincast_chassis.errors import CoincastError, InvalidInput, Timeout
from coincast_chassis.item_errors import to_item_error
from coincast_chassis.observability.logs import get_logger

MAX_QUESTIONS = 256
log = get_logger("coincast.market")
GetPrices = Callable[[pb.GetPricesRequest], Awaitable[pb.GetPricesResponse]]


async def stream_batch(
    questions: Sequence[pb.PricesQuestion], answer: GetPrices
) -> AsyncIterator[pb.GetPricesForManyResponse]:
    """Stream each answer as soon as it is ready. Closing the stream cancels the pending ones.

    Args:
        questions: The requests of one call.
        answer: Answers one request.

    Raises:
        InvalidInput: There are no questions, or too many.
    """
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        raise InvalidInput(f"Give 1 to {MAX_QUESTIONS} questions.", field="questions")
    pending = {asyncio.create_task(_answer_one(i, question, answer)) for i, question in enumerate(questions)}
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            yield pb.GetPricesForManyResponse(answers=[task.result() for task in done])
    finally:
        for task in pending:
            task.cancel()


async def _answer_one(number: int, question: pb.PricesQuestion, answer: GetPrices) -> pb.PricesAnswer:
    request_id = context.safe_id(question.request_id) or context.request_id()
    trace_id = context.parse_traceparent(question.traceparent) or context.trace_id()
    with context.bind(request_id=request_id, trace_id=trace_id):
        try:
            return pb.PricesAnswer(question=number, response=await answer(question.request))
        except TimeoutError:
            error: CoincastError = Timeout("The deadline passed before there was an answer.")
        except CoincastError as known:
            error = known
        except Exception:
            log.exception("batch_item_failed")
            error = CoincastError(f"Internal error; the logs have it under request id {request_id}.")
        return pb.PricesAnswer(question=number, error=to_item_error(error))
