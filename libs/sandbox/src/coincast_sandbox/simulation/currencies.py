"""The currencies that prices can be quoted in, as `simple/supported_vs_currencies` lists them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency; name, unit and kind are those of `exchange_rates`.

    `per_usd` is a fixed rate, which suffices because tests depend only on the form of replies. The rate of a
    currency with a `coin_id` follows that coin's candles if the market has the coin; `units` is the number of
    units per coin.
    """

    code: str
    name: str
    unit: str
    kind: str
    per_usd: float
    coin_id: str | None = None
    units: float = 1.0


CURRENCIES = {
    currency.code: currency
    for currency in (
        Currency("btc", "Bitcoin", "BTC", "crypto", 1.319e-05, coin_id="bitcoin"),
        Currency("eth", "Ether", "ETH", "crypto", 0.0004861, coin_id="ethereum"),
        Currency("ltc", "Litecoin", "LTC", "crypto", 0.01935, coin_id="litecoin"),
        Currency("bch", "Bitcoin Cash", "BCH", "crypto", 0.00291, coin_id="bitcoin-cash"),
        Currency("bnb", "Binance Coin", "BNB", "crypto", 0.00153, coin_id="binancecoin"),
        Currency("eos", "EOS", "EOS", "crypto", 12.75),
        Currency("xrp", "XRP", "XRP", "crypto", 0.7532, coin_id="ripple"),
        Currency("xlm", "Lumens", "XLM", "crypto", 6.806, coin_id="stellar"),
        Currency("link", "Chainlink", "LINK", "crypto", 0.1065, coin_id="chainlink"),
        Currency("dot", "Polkadot", "DOT", "crypto", 0.8018, coin_id="polkadot"),
        Currency("yfi", "Yearn.finance", "YFI", "crypto", 0.0004097),
        Currency("sol", "Solana", "SOL", "crypto", 0.01201, coin_id="solana"),
        Currency("usd", "US Dollar", "$", "fiat", 1.0),
        Currency("aed", "United Arab Emirates Dirham", "DH", "fiat", 3.673),
        Currency("ars", "Argentine Peso", "$", "fiat", 1409.0),
        Currency("aud", "Australian Dollar", "A$", "fiat", 1.52),
        Currency("bdt", "Bangladeshi Taka", "৳", "fiat", 122.8),
        Currency("bhd", "Bahraini Dinar", "BD", "fiat", 0.3772),
        Currency("bmd", "Bermudian Dollar", "$", "fiat", 1.0),
        Currency("brl", "Brazil Real", "R$", "fiat", 5.6),
        Currency("cad", "Canadian Dollar", "CA$", "fiat", 1.37),
        Currency("chf", "Swiss Franc", "Fr.", "fiat", 0.88),
        Currency("clp", "Chilean Peso", "CLP$", "fiat", 896.1),
        Currency("cny", "Chinese Yuan", "¥", "fiat", 7.2),
        Currency("czk", "Czech Koruna", "Kč", "fiat", 20.87),
        Currency("dkk", "Danish Krone", "kr.", "fiat", 6.429),
        Currency("eur", "Euro", "€", "fiat", 0.92),
        Currency("gbp", "British Pound Sterling", "£", "fiat", 0.79),
        Currency("gel", "Georgian Lari", "₾", "fiat", 2.664),
        Currency("hkd", "Hong Kong Dollar", "HK$", "fiat", 7.836),
        Currency("huf", "Hungarian Forint", "Ft", "fiat", 306.2),
        Currency("idr", "Indonesian Rupiah", "Rp", "fiat", 17810.0),
        Currency("ils", "Israeli New Shekel", "₪", "fiat", 2.842),
        Currency("inr", "Indian Rupee", "₹", "fiat", 84.0),
        Currency("jpy", "Japanese Yen", "¥", "fiat", 149.0),
        Currency("krw", "South Korean Won", "₩", "fiat", 1380.0),
        Currency("kwd", "Kuwaiti Dinar", "KD", "fiat", 0.3095),
        Currency("lkr", "Sri Lankan Rupee", "Rs", "fiat", 325.2),
        Currency("mmk", "Burmese Kyat", "K", "fiat", 2100.0),
        Currency("mxn", "Mexican Peso", "MX$", "fiat", 18.6),
        Currency("myr", "Malaysian Ringgit", "RM", "fiat", 3.966),
        Currency("ngn", "Nigerian Naira", "₦", "fiat", 1373.0),
        Currency("nok", "Norwegian Krone", "kr", "fiat", 9.275),
        Currency("nzd", "New Zealand Dollar", "NZ$", "fiat", 1.714),
        Currency("php", "Philippine Peso", "₱", "fiat", 61.59),
        Currency("pkr", "Pakistani Rupee", "₨", "fiat", 278.4),
        Currency("pln", "Polish Zloty", "zł", "fiat", 3.9),
        Currency("rub", "Russian Ruble", "₽", "fiat", 72.0),
        Currency("sar", "Saudi Riyal", "SR", "fiat", 3.74),
        Currency("sek", "Swedish Krona", "kr", "fiat", 10.4),
        Currency("sgd", "Singapore Dollar", "S$", "fiat", 1.278),
        Currency("thb", "Thai Baht", "฿", "fiat", 32.68),
        Currency("try", "Turkish Lira", "₺", "fiat", 33.0),
        Currency("twd", "New Taiwan Dollar", "NT$", "fiat", 31.45),
        Currency("uah", "Ukrainian hryvnia", "₴", "fiat", 44.28),
        Currency("vef", "Venezuelan bolívar fuerte", "Bs.F", "fiat", 0.1001),
        Currency("vnd", "Vietnamese đồng", "₫", "fiat", 26340.0),
        Currency("zar", "South African Rand", "R", "fiat", 18.1),
        Currency("xdr", "IMF Special Drawing Rights", "XDR", "fiat", 0.7009),
        Currency("xag", "Silver - Troy Ounce", "XAG", "commodity", 0.01313),
        Currency("xau", "Gold - Troy Ounce", "XAU", "commodity", 0.0002222),
        Currency("bits", "Bits", "μBTC", "crypto", 13.19, coin_id="bitcoin", units=1e6),
        Currency("sats", "Satoshi", "sats", "crypto", 1319.0, coin_id="bitcoin", units=1e8),
    )
}
# Currencies that are coins: prices in them have more decimals than prices in fiat currencies.
COIN_CODES = frozenset(c.code for c in CURRENCIES.values() if c.kind == "crypto" and c.units == 1.0)
