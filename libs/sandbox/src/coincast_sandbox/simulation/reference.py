"""Invented reference data: platforms, contracts, exchanges, categories, inactive coins."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coincast_sandbox.simulation.coin_names import KnownCoin


@dataclass(frozen=True, slots=True)
class Platform:
    """An asset platform: a chain with tokens."""

    id: str
    chain_identifier: int | None
    name: str
    native_coin_id: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange; `share` is its share of a coin's trade volume, 0 to 1."""

    id: str
    name: str
    year: int | None
    country: str | None
    share: float


@dataclass(frozen=True, slots=True)
class Category:
    """A category; without a list of coins it contains every coin whose hash modulo 4 is `remainder`."""

    id: str
    name: str
    description: str
    coins: frozenset[str] = frozenset()
    remainder: int = 0


PLATFORMS = (
    Platform("ethereum", 1, "Ethereum", "ethereum"),
    Platform("binance-smart-chain", 56, "BNB Smart Chain", "binancecoin"),
    Platform("solana", None, "Solana", "solana"),
    Platform("polygon-pos", 137, "Polygon POS", "polygon-ecosystem-token"),
    Platform("avalanche", 43114, "Avalanche", "avalanche-2"),
    Platform("base", 8453, "Base", "ethereum"),
)
EXCHANGES = (
    Exchange("binance", "Binance", 2017, "Cayman Islands", 0.40),
    Exchange("gdax", "Coinbase Exchange", 2012, "United States", 0.20),
    Exchange("kraken", "Kraken", 2011, "United States", 0.15),
    Exchange("okex", "OKX", 2013, "Seychelles", 0.15),
    Exchange("uniswap_v3", "Uniswap V3 (Ethereum)", None, None, 0.10),
)
# Coins with their own chain; they have no contract.
NATIVE = frozenset(
    [
        "bitcoin",
        "ethereum",
        "ripple",
        "binancecoin",
        "solana",
        "dogecoin",
        "cardano",
        "tron",
        "avalanche-2",
        "stellar",
        "bitcoin-cash",
        "litecoin",
        "polkadot",
        "monero",
        "ethereum-classic",
    ]
)
CATEGORIES = (
    Category("smart-contract-platform", "Smart Contract Platform", "Chains that run contracts.",
             frozenset({"ethereum", "binancecoin", "solana", "cardano", "tron", "avalanche-2", "polkadot"})),
    Category("layer-1", "Layer 1 (L1)", "Chains of their own.", NATIVE),
    Category("stablecoins", "Stablecoins", "They follow a currency.", frozenset({"tether", "usd-coin"})),
    Category("meme-token", "Meme", "They began as a joke.", frozenset({"dogecoin", "shiba-inu", "pepe"})),
    Category("decentralized-finance-defi", "Decentralized Finance (DeFi)", "By contracts.", remainder=1),
    Category("artificial-intelligence", "Artificial Intelligence (AI)", "Coins about models.", remainder=2),
    Category("gaming", "Gaming (GameFi)", "Coins of games.", remainder=3),
)  # fmt: skip
# The coins of `coins/list?status=inactive`; their own paths answer 404.
INACTIVE = (
    KnownCoin("bitconnect", "bcc", "Bitconnect", 0.0, 0.0),
    KnownCoin("boringdao-[old]", "bor", "BoringDAO [OLD]", 0.0, 0.0),
    KnownCoin("ftx-token-old", "fttold", "FTX Token (Old)", 0.0, 0.0),
)


def contracts(coin_id: str) -> dict[str, str]:
    """Return platform id -> contract address of a coin; empty for a coin with its own chain."""
    if coin_id in NATIVE:
        return {}
    digest = hashlib.sha256(coin_id.encode()).hexdigest()
    found = {"ethereum": f"0x{digest[:40]}"}
    if int(digest[-1], 16) % 2:
        found["binance-smart-chain"] = f"0x{digest[10:50]}"
    return found


def categories_of(coin_id: str) -> list[Category]:
    """Return the categories that contain a coin."""
    return [category for category in CATEGORIES if _holds(category, coin_id)]


def _holds(category: Category, coin_id: str) -> bool:
    if category.coins:
        return coin_id in category.coins
    return coin_id not in NATIVE and sum(coin_id.encode()) % 4 == category.remainder
