"""API keys: 256 random bits, shown once, stored as a digest with a name and scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import redis.asyncio
from redis.exceptions import ResponseError

from coincast_chassis.clock import steady_clock
from coincast_chassis.errors import InvalidInput, NotFound
from coincast_gateway import metrics

Scope = Literal["read", "train", "admin"]
REDIS_KEY = "coincast:gateway:keys"
PREFIX = "cc_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}\Z")
# The scopes that a key with one scope has.
SCOPE_GRANTS: dict[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "train": frozenset({"read", "train"}),
    "admin": frozenset({"read", "train", "admin"}),
}


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """The stored record of a key. The key itself is not stored."""

    name: str
    digest: str
    scopes: frozenset[str]
    created_at: float
    # The limit of requests a minute; 0 means the gateway's default limit.
    per_minute: int = 0
    # The limit of calls in a calendar month; 0 means no limit.
    per_month: int = 0

    def dump(self) -> bytes:
        """Encode the record for Redis."""
        fields = {"name": self.name, "scopes": sorted(self.scopes), "created_at": self.created_at}
        return orjson.dumps({**fields, "per_minute": self.per_minute, "per_month": self.per_month})

    @classmethod
    def load(cls, digest: str, raw: bytes) -> KeyRecord:
        """Decode a record from Redis.

        Raises:
            ValueError: The bytes were not written by `dump`.
        """
        try:
            fields = orjson.loads(raw)
            name, per_minute, created_at = fields["name"], int(fields["per_minute"]), fields["created_at"]
            per_month = int(fields.get("per_month", 0))
            scopes = frozenset(fields["scopes"])
            record = cls(
                name=name,
                digest=digest,
                scopes=scopes,
                created_at=float(created_at),
                per_minute=per_minute,
                per_month=per_month,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"The record has no valid {error}.") from error
        if not isinstance(name, str) or not NAME.match(name) or not record.scopes <= SCOPE_GRANTS["admin"]:
            raise ValueError("The record has an invalid name or unknown scopes.")
        return record


def digest_of(key: str) -> str:
    """Return the SHA-256 of a key in hex; it is 256 random bits, so a slow hash would add no protection."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeyCache:
    """Cache of all key records by digest, as of the last refresh.

    A look-up of an unknown key stores nothing, so that invalid keys cannot fill the memory.
    """

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.refreshed_at: float | None = None

    def __len__(self) -> int:
        return len(self.records)

    def replace(self, records: list[KeyRecord], now: float) -> None:
        """Replace all records by those of the store.

        Args:
            records: The records of the store.
            now: Monotonic seconds of the refresh.
        """
        self.records = {record.digest: record for record in records}
        self.refreshed_at = now

    def find(self, key: str) -> KeyRecord | None:
        """Return the record of a key, or None. Digests are compared in constant time."""
        digest = digest_of(key)
        record = self.records.get(digest)
        return record if record is not None and hmac.compare_digest(record.digest, digest) else None


class KeyStore:
    """The keys in Redis: a hash from digest to record."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._redis = client

    async def all(self) -> list[KeyRecord]:
        """Return the record of every key, by name.

        A record that cannot be decoded is left out and counted: its key is invalid, the others remain valid.

        Raises:
            RedisError: Redis failed. The caller must not treat this as an empty store.
        """
        rows: Any = await self._redis.hgetall(REDIS_KEY)
        if not isinstance(rows, dict):
            raise ResponseError(f"The keys are no hash but {type(rows).__name__}.")
        records = []
        for digest, raw in rows.items():
            try:
                records.append(KeyRecord.load(digest.decode(), raw))
            except ValueError:
                metrics.BAD_KEY_RECORDS.inc()
        return sorted(records, key=lambda record: record.name)

    async def create(self, name: str, scope: str, *, per_minute: int = 0, per_month: int = 0) -> str:
        """Create a key and return it. It is not stored, so it cannot be shown again.

        Args:
            name: A unique name.
            scope: `read`, `train` or `admin`.
            per_minute: The limit of requests a minute; 0 means the gateway's default limit.
            per_month: The limit of calls in a calendar month; 0 means no limit.

        Raises:
            InvalidInput: The name is not valid or already taken, or the scope is unknown.
        """
        if not NAME.match(name):
            raise InvalidInput(
                "A name is at most 64 letters, digits, dots, hyphens and underscores.", field="name"
            )
        if scope not in SCOPE_GRANTS:
            raise InvalidInput(f"A scope is one of {', '.join(SCOPE_GRANTS)}.", field="scope")
        if any(record.name == name for record in await self.all()):
            raise InvalidInput(f"There is a key {name!r} already; revoke it first.", field="name")
        key = PREFIX + secrets.token_urlsafe(32)
        record = KeyRecord(
            name,
            digest_of(key),
            SCOPE_GRANTS[scope],
            created_at=steady_clock().now(),
            per_minute=per_minute,
            per_month=per_month,
        )
        await self._redis.hset(REDIS_KEY, record.digest, record.dump())
        return key

    async def revoke(self, name: str) -> None:
        """Revoke a key. Gateways refuse it from their next refresh on.

        Raises:
            NotFound: No key has this name.
        """
        for record in await self.all():
            if record.name == name:
                await self._redis.hdel(REDIS_KEY, record.digest)
                return
        raise NotFound(f"There is no key {name!r}.", field="name")
