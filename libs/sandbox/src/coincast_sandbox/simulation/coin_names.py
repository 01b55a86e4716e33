"""Names of coins: well-known ids, and invented ones that fill a market of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class KnownCoin:
    """A coin's names, its first price in USD (2019-01-01) and its constant supply in coins."""

    id: str
    symbol: str
    name: str
    price: float
    supply: float
    stable: bool = False


WELL_KNOWN = (
    KnownCoin("bitcoin", "btc", "Bitcoin", 20000.0, 19.9e6),
    KnownCoin("ethereum", "eth", "Ethereum", 1500.0, 120.7e6),
    KnownCoin("tether", "usdt", "Tether", 1.0, 170e9, stable=True),
    KnownCoin("ripple", "xrp", "XRP", 0.6, 59.5e9),
    KnownCoin("binancecoin", "bnb", "BNB", 240.0, 139e6),
    KnownCoin("solana", "sol", "Solana", 40.0, 540e6),
    KnownCoin("usd-coin", "usdc", "USDC", 1.0, 70e9, stable=True),
    KnownCoin("dogecoin", "doge", "Dogecoin", 0.06, 150e9),
    KnownCoin("cardano", "ada", "Cardano", 0.4, 35.7e9),
    KnownCoin("tron", "trx", "TRON", 0.08, 94.7e9),
    KnownCoin("chainlink", "link", "Chainlink", 8.0, 678e6),
    KnownCoin("avalanche-2", "avax", "Avalanche", 15.0, 422e6),
    KnownCoin("stellar", "xlm", "Stellar", 0.11, 31.6e9),
    KnownCoin("bitcoin-cash", "bch", "Bitcoin Cash", 220.0, 19.9e6),
    KnownCoin("litecoin", "ltc", "Litecoin", 70.0, 76.2e6),
    KnownCoin("polkadot", "dot", "Polkadot", 5.5, 1.6e9),
    KnownCoin("uniswap", "uni", "Uniswap", 5.0, 628e6),
    KnownCoin("monero", "xmr", "Monero", 130.0, 18.4e6),
    KnownCoin("ethereum-classic", "etc", "Ethereum Classic", 15.0, 153e6),
    KnownCoin("shiba-inu", "shib", "Shiba Inu", 8e-6, 589e12),
    KnownCoin("pepe", "pepe", "Pepe", 1e-9, 420e12),
)
_HEADS = (
    "Nova",
    "Terra",
    "Quant",
    "Astro",
    "Hydra",
    "Lumen",
    "Orbit",
    "Zephyr",
    "Cobalt",
    "Ember",
    "Flux",
    "Glacier",
)
_TAILS = ("coin", "chain", "swap", "token", "cash", "dao", "fi", "verse", "pay", "bit", "link", "mesh")
_BY_ID = {coin.id: coin for coin in WELL_KNOWN}


def coin_names(count: int, seed: int) -> list[KnownCoin]:
    """Return the `count` largest coins of the simulated market, largest first."""
    return list(WELL_KNOWN[:count]) + [_made_up(i, seed) for i in range(count - len(WELL_KNOWN))]


def named(coin_id: str) -> KnownCoin:
    """Return the names of a coin id; those of an unknown id are derived from the id."""
    known = _BY_ID.get(coin_id)
    return known or KnownCoin(coin_id, coin_id[:4], coin_id.replace("-", " ").title(), 1.0, 1e9)


def _made_up(index: int, seed: int) -> KnownCoin:
    rng = np.random.default_rng([seed, 0, index])
    head, tail = _HEADS[index % len(_HEADS)], _TAILS[(index // len(_HEADS)) % len(_TAILS)]
    round_number = index // (len(_HEADS) * len(_TAILS))
    name = f"{head}{tail}" + (f" {round_number + 1}" if round_number else "")
    price = float(10 ** rng.uniform(-6, 2.5))
    value = 2e9 / (1 + index) ** 0.8
    return KnownCoin(
        name.lower().replace(" ", "-"), f"{head[:2]}{tail[:2]}{index}".lower(), name, price, value / price
    )
