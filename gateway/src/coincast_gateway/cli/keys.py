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
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="coincast-keys",
        description="Create, list and revoke API keys of the gateway, in the Redis of GATEWAY_REDIS_URL.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="Create a key and print it; it cannot be shown again.")
    create.add_argument("name", help="Name of the key.")
    create.add_argument(
        "--scope",
        choices=list(SCOPE_GRANTS),
        default="read",
        help="Scope of the key; train includes read, admin includes both.",
    )
    create.add_argument(
        "--per-minute",
        type=int,
        default=0,
        metavar="N",
        help="Limit of requests a minute; 0 for the gateway's default limit.",
    )
    create.add_argument(
        "--per-month",
        type=int,
        default=0,
        metavar="N",
        help="Limit of calls a calendar month; 0 for no limit.",
    )
    verbs.add_parser("list", help="List names, scopes, dates, and the calls of this month with their limit.")
    verbs.add_parser("revoke", help="Revoke a key.").add_argument("name", help="Name of the key.")
    return parser.parse_args()


async def run(options: argparse.Namespace, url: str) -> None:
    """Run the command on the keys in the Redis at `url`."""
    client = open_redis(url, timeout_seconds=2.0)
    store = KeyStore(client)
    try:
        if options.verb == "create":
            limits = {"per_minute": options.per_minute, "per_month": options.per_month}
            key = await store.create(options.name, options.scope, **limits)
            sys.stderr.write(f"The key of {options.name} ({options.scope}); it is not shown again:\n")
            sys.stdout.write(f"{key}\n")
        elif options.verb == "revoke":
            await store.revoke(options.name)
            sys.stderr.write(f"The key of {options.name} is revoked.\n")
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
    """Run the command; on failure exit with one line on stderr."""
    options = arguments()
    try:
        asyncio.run(run(options, load_settings(Settings).redis_url))
    except CoincastError as error:
        sys.exit(f"coincast-keys: {error.message}")
    except (RedisError, OSError) as error:
        sys.stderr.write(
            f"coincast-keys: Redis does not answer ({type(error).__name__}); see GATEWAY_REDIS_URL.\n"
        )
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
