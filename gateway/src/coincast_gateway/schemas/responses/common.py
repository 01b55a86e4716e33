"""Base classes and parts of the response schemas."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal["unspecified", "live", "fresh", "stale", "archive", "sandbox"]
ErrorWord = Literal[
    "unspecified",
    "invalid_input",
    "not_found",
    "not_ready",
    "exhausted",
    "unavailable",
    "timeout",
    "conflict",
    "internal",
]


class ResponseModel(BaseModel):
    """Base of replies and their parts; there are no further fields."""

    model_config = ConfigDict(extra="forbid")


class ProvenanceFields(ResponseModel):
    """The provenance of a figure."""

    as_of: str | None = Field(
        description="The moment that the data describes, RFC 3339, UTC.", examples=["2026-11-21T00:00:00Z"]
    )
    age_seconds: float = Field(
        ge=0,
        description="Seconds from as_of to the sending of this reply, also where it comes from a cache.",
    )
    source: Source = Field(description="Where the data comes from; `sandbox` is not market data.")
    stale: bool = Field(description="Whether the data is older than its fresh window.")
    reason: str | None = Field(description="Why it is stale or substituted; null if it is neither.")


class ItemError(ResponseModel):
    """One item of a list that could not be served."""

    id: str = Field(description="The item as requested.")
    kind: ErrorWord
    message: str = Field(description="What is wrong, and how to fix it.")
    field: str | None = Field(description="The invalid field; null if the error is about none.")
    suggestions: list[str] = Field(description="Nearest known ids, best first.")
    retry_after_seconds: float | None = Field(
        description="Seconds after which a retry may succeed; null if it will not."
    )


class ProblemDocument(BaseModel):
    """An error, RFC 9457."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="Stable name of the kind of problem; the page under this path explains it.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and how to fix it.")
    instance: str = Field(description="The requested path.")
    request_id: str = Field(description="Identifies this request in the logs.")
    field: str | None = Field(None, description="The invalid parameter.")
    allowed: str | None = Field(None, description="The allowed values.")
    suggestions: list[str] | None = Field(None, description="Nearest known names, best first.")
    retry_after_seconds: int | None = Field(None, description="The value of Retry-After.")
    errors: list[dict[str, Any]] | None = Field(None, description="All errors, one entry each.")
