"""`python -m coincast_gateway.cli.keys`: create, list and revoke API keys."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from redis.exceptions import RedisError

from coincast_chassis.clock import SystemClock
from coincast_chassis.errors import CoincastError
from coincast_chassis.redis import open_redis
from coincast_chassis.settings import load_settings
from coincast_gateway.auth.api_keys import SCOPE_GRANTS, KeyStore
from coincast_gateway.auth.usage import UsageRecorder
from coincast_gateway.settings import Settings


def arguments() -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(
        prog="coincast-keys", description="API keys of the gateway, in GATEWAY_REDIS_URL."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make a key; it is shown once")
    create.add_argument("name")
    create.add_argument(
        "--scope", choices=list(SCOPE_GRANTS), default="read", help="train includes read, admin both"
    )
    create.add_argument("--per-minute", type=int, default=0, help="requests a minute; 0: the gateway's limit")
    create.add_argument("--per-month", type=int, default=0, help="calls a calendar month; 0: no limit")
    verbs.add_parser("list", help="names, scopes, ages, and the calls of this month with their limit")
    verbs.add_parser("revoke", help="take a key back").add_argument("name")
    return parser.parse_args()


async def obey(asked: argparse.Namespace, url: str) -> None:
    """Do it."""
    client = open_redis(url, timeout_seconds=2.0)
    store = KeyStore(client)
    try:
        if asked.verb == "create":
            limits = {"per_minute": asked.per_minute, "per_month": asked.per_month}
            key = await store.create(asked.name, asked.scope, **limits)
            sys.stderr.write(f"The key of {asked.name} ({asked.scope}); it is not shown again:\n")
            sys.stdout.write(f"{key}\n")
        elif asked.verb == "revoke":
            await store.revoke(asked.name)
            sys.stderr.write(f"The key of {asked.name} is revoked.\n")
        else:
            usage = UsageRecorder(client, SystemClock())
            await usage.flush()
            for record in await store.all():
                made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(record.created_at))
                limit = f" of {record.per_month}" if record.per_month else ""
                calls = f"{usage.month_calls(record.name)}{limit} calls this month"
                sys.stdout.write(f"{record.name}\t{','.join(sorted(record.scopes))}\t{made} UTC\t{calls}\n")
    finally:
        await client.aclose()


def main() -> None:
    """Ends with 2 and one line where it cannot be done."""
    asked = arguments()
    try:
        asyncio.run(obey(asked, load_settings(Settings).redis_url))
    except CoincastError as error:
        sys.exit(f"coincast-keys: {error.message}")
    except (RedisError, OSError) as error:
        sys.stderr.write(
            f"coincast-keys: Redis does not answer ({type(error).__name__}); see GATEWAY_REDIS_URL.\n"
        )
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
