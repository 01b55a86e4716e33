// Format numbers and times, by the same rules as `coincast_client.formatting`; one table of cases tests both.
window.Coincast = window.Coincast || {};
(() => {
  "use strict";
  const MISSING = "–";
  const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

  // Prices: five significant digits with thousands separators; scientific notation below a millionth.
  function price(value) {
    if (!known(value)) return MISSING;
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (value < 0) return `−${price(size)}`;
    if (size < 1e-6) return value.toExponential(2).replace(/\.?0+e/, "e");
    const digits = Math.max(0, Math.min(10, 4 - Math.floor(Math.log10(size))));
    const decimals = size >= 1000 ? 0 : size >= 1 ? 2 : digits;
    return value.toLocaleString("en", { minimumFractionDigits: size >= 1 ? decimals : 0, maximumFractionDigits: decimals });
  }

  // The values of an axis: as integers if all are integers, otherwise as prices; with a typographic minus.
  function axis(values) {
    const whole = values.every((value) => Number.isInteger(value) && Math.abs(value) < 1e12);
    return values.map((value) => (whole ? value.toLocaleString("en") : price(value)).replace(/^-0$/, "0").replace(/^-/, "−"));
  }

  // The reason in a reply, as a sentence with a capital letter and a full stop.
  const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.!?]?$/, ".") : "");

  // Large sums in few characters: 2.16 T.
  function compact(value) {
    if (!known(value)) return MISSING;
    for (const [unit, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6]]) {
      if (Math.abs(value) >= size) return `${value < 0 ? "−" : ""}${(Math.abs(value) / size).toFixed(2)} ${unit}`;
    }
    return price(value);
  }

  // Percents with a sign and a typographic minus: +1.5 %, −6 %.
  function percent(value, decimals = 1) {
    if (!known(value)) return MISSING;
    const rounded = Math.abs(value).toFixed(decimals);
    const sign = Number(rounded) === 0 ? "" : value < 0 ? "−" : "+";
    return `${sign}${rounded} %`;
  }

  // Shares without a plus: 79.8 %, −6.4 % of a loss for a coin that reduces it.
  const share = (value, decimals = 1) => (known(value) ? percent(value, decimals).replace("+", "") : MISSING);

  // A probability from 0 to 1 in percent. Only certain events are 0 or 100 %.
  function chance(value) {
    if (!known(value)) return MISSING;
    if (value > 0 && value < 0.01) return "under 1 %";
    if (value < 1 && value > 0.99) return "over 99 %";
    return `${(100 * value).toFixed(0)} %`;
  }

  const count = (value) => (known(value) ? value.toLocaleString("en") : MISSING);

  const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const day = (value) => (value ? dayFormat.format(new Date(value)) : MISSING);

  const momentFormat = new Intl.DateTimeFormat("en-GB", {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", timeZone: "UTC",
  });
  const moment = (value) => (value ? `${momentFormat.format(new Date(value))} UTC` : MISSING);

  function age(seconds) {
    if (!known(seconds)) return MISSING;
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
      const whole = Math.floor(seconds / size);
      if (whole >= 1) return `${whole} ${unit}${whole > 1 ? "s" : ""} ago`;
    }
    return "just now";
  }

  // Prices and sums with the sign of their currency: $108,246; others have their code: 1,234 CHF.
  const SIGNS = { usd: "$", eur: "€", gbp: "£", jpy: "¥", btc: "₿", eth: "Ξ" };
  function signed(value, code, text) {
    if (!known(value)) return MISSING;
    const size = text(Math.abs(value)), sign = SIGNS[code];
    return `${value < 0 ? "−" : ""}${sign ? sign + size : `${size} ${code.toUpperCase()}`}`;
  }
  const money = (value, code = "usd") => signed(value, code, price);
  const compactMoney = (value, code = "usd") => signed(value, code, compact);

  // A number of things in words: 1 day, 7 days.
  const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

  // The word for a currency in a sentence.
  const WORDS = { usd: "dollars", eur: "euros", gbp: "pounds", jpy: "yen", btc: "bitcoin", eth: "ether" };
  const currency = (code) => WORDS[code] ?? code.toUpperCase();

  // The accuracy of such answers on past days, and since they were served.
  const record = (basis) => [basis?.record_sentence, basis?.live_sentence].filter(Boolean).join(" ");

  window.Coincast.format = { price, axis, sentence, compact, percent, share, chance, count, day, moment, age, currency, money, compactMoney, plural, record, MISSING };
})();
