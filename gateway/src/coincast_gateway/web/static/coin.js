// The coin view: head with the live price, fan chart, the forecast in words, and its out-of-sample record.
(() => {
  "use strict";
  const { get, element, byId, fillTable, format, charts, state, live, watchlist } = window.Coincast;
  const HOUR_MS = 3_600_000;
  let round = 0;
  // A failed request is repeated at the time that the reply names, otherwise after the usual wait; never sooner than the least wait.
  const [USUAL_WAIT_SECONDS, LEAST_WAIT_SECONDS] = [10, 3];
  let shown = { coin: "", candles: [], forecast: null, market: null, askAt: Infinity, loaded: false };
  let aborter = null;

  const ahead = () => { const text = state.get().ahead; return { count: parseInt(text, 10), hours: text.endsWith("h") }; };
  const aheadWords = ({ count, hours }) => format.plural(count, hours ? "hour" : "day");
  const level80 = (point) => point.intervals["80"] ?? point.intervals[Object.keys(point.intervals)[0]];

  function requestForecast(id, model, signal) {
    const { count, hours } = ahead();
    // One model alone forecasts hours; the choice among those of days does not apply to them.
    const able = hours && model !== "intraday" ? "auto" : model;
    return get("/forecasts", { ids: id, model: able, ...(hours ? { hours: count } : { days: count }) }, signal).then((reply) => {
      if (!reply.forecasts.length) throw new Error(reply.errors[0]?.message ?? `There is no forecast of ${id}.`);
      return reply.forecasts[0];
    });
  }

  // When a point closes: hourly points state it, daily points close at the midnight that ends their day.
  const closesAt = (point) => (point.closes_at ? Date.parse(point.closes_at) : Date.parse(`${point.date}T00:00:00Z`) + charts.DAY_MS);
  const pointLabel = (point) => (point.horizon_hours ? format.moment(closesAt(point)) : format.day(point.date));

  function chartModel() {
    const { forecast, candles } = shown;
    const points = (forecast?.points ?? []).map((p) => ({ at: closesAt(p), label: pointLabel(p), price: p.price, intervals: p.intervals }));
    const last = candles.at(-1);
    const now = forecast ? Date.parse(forecast.as_of) : last?.at ?? Date.now();
    return {
      candles: candles.filter((c) => c.at <= now), points, now, style: state.get().style,
      lastClose: forecast?.last_price ?? last?.close, level: window.Coincast.touch?.level() ?? null,
    };
  }

  function read(text) {
    byId("readout").textContent = text || "Point at the chart, or use the arrow keys, to read a day.";
  }

  function draw() {
    if (!shown.candles.length && !shown.forecast) return;
    charts.fan(byId("fan"), chartModel(), {
      onRead: read,
      onLevel: window.Coincast.touch?.move,
    });
  }

  function drawHead() {
    const { market, coin } = shown;
    const standing = live.newest(live.latest.get(coin), market);
    byId("coin-badge").replaceChildren(watchlist.badge(coin, market?.symbol));
    byId("coin-name").textContent = market?.name ?? coin;
    byId("coin-symbol").textContent = (market?.symbol ?? "").toUpperCase();
    const value = standing?.price;
    byId("coin-price").textContent = format.money(value);
    const change = standing?.change_24h_percent;
    byId("coin-change").textContent = change === undefined || change === null ? "" : `${format.percent(change)} in 24 h`;
    byId("coin-change").className = change < 0 ? "fall" : "rise";
    byId("coin-value").textContent = market?.market_cap ? `market value ${format.compactMoney(market.market_cap)}` : "";
    drawFreshness(standing);
    const follows = watchlist.has(coin);
    byId("follow").textContent = follows ? "★ Watching" : "☆ Watch";
    byId("follow").setAttribute("aria-pressed", String(follows));
    // A price that arrives while another view is shown must not take its title.
    if (state.get().view === "coin") document.title = `${[market?.name ?? coin, value ? format.money(value) : ""].filter(Boolean).join(" ")} · Coincast`;
    if (standing) live.nameSource(standing.source);
  }

  function drawFreshness(standing) {
    byId("coin-fresh").textContent = standing ? freshness(standing) : "";
    byId("coin-fresh").className = standing?.stale ? "stale" : "";
  }

  function freshness(standing) {
    const when = format.age(live.ageSeconds(standing));
    if (standing.stale) return `Stale: ${when}. ${standing.reason ?? ""}`;
    return `${standing.source === "sandbox" ? "sandbox data, " : ""}updated ${when}`;
  }

  function sentence(forecast) {
    const point = forecast.points.at(-1), span = level80(point), level = point.intervals["80"] ? 80 : Object.keys(point.intervals)[0];
    const relative = (price) => format.percent((price / forecast.last_price - 1) * 100, Math.abs(price / forecast.last_price - 1) < 0.02 ? 1 : 0);
    const often = Number(level) === 80 ? "8 times in 10" : `${level} times in 100`;
    return `In ${aheadWords(ahead())}: ${format.price(span.lower)} to ${format.price(span.upper)} ${format.currency(forecast.vs_currency)}, ` +
      `${relative(span.lower)} to ${relative(span.upper)}, ${often}. ${direction(point)}`;
  }

  function direction(point) {
    const chance = point.probability_of_rise;
    if (chance === null || chance === undefined || Math.abs(chance - 0.5) < 0.02) return "Direction: no better than a coin toss.";
    return `Chance of a rise: ${format.chance(chance)}.`;
  }

  function horizonRecord(record) {
    const { count, hours } = ahead();
    const rows = record?.horizons ?? [];
    const same = rows.filter((h) => (hours ? h.horizon_hours === count : h.horizon_days === count && !h.horizon_hours));
    if (same.length) return same[0];
    // A horizon without a measurement shows that of the nearest one, which the text names.
    const kind = rows.filter((h) => (hours ? h.horizon_hours : h.horizon_days && !h.horizon_hours));
    const size = (h) => (hours ? h.horizon_hours : h.horizon_days);
    return kind.sort((a, b) => Math.abs(size(a) - count) - Math.abs(size(b) - count))[0] ?? null;
  }

  function recordWords(forecast) {
    const h = horizonRecord(forecast.record);
    if (!h) return "No record was measured for this forecast.";
    const size = h.horizon_hours ? { count: h.horizon_hours, hours: true } : { count: h.horizon_days, hours: false };
    const error = h.coverage_80_standard_error ? ` (± ${h.coverage_80_standard_error.toFixed(1)})` : "";
    const periods = h.independent_periods ? ` from ${format.count(h.independent_periods)} separate periods` : "";
    const kept = h.coverage_80_percent === null || h.coverage_80_percent === undefined ? ""
      : `${format.share(h.coverage_80_percent)}${error} of ${format.count(h.forecasts)} earlier 80 % intervals for ${aheadWords(size)}${periods} contained the price. `;
    const skill = h.crps_skill_percent;
    const sharper = skill === null || skill === undefined ? ""
      : skill > 0 ? `Sharper by ${skill.toFixed(1)} % (CRPS) than the usual method, a normal distribution with the volatility of the last 60 days.`
        : `No sharper than the usual method, a normal distribution with the volatility of the last 60 days (CRPS ${format.percent(skill)}).`;
    return kept + sharper;
  }

  function drawWords() {
    const { forecast } = shown;
    byId("said").textContent = sentence(forecast);
    byId("kept").textContent = recordWords(forecast);
    const by = forecast.served_by === forecast.model ? forecast.model : `${forecast.served_by} (requested: ${forecast.model})`;
    byId("basis").textContent = `By ${by}${forecast.version ? ` ${forecast.version}` : ""}, from the price of ${format.moment(forecast.as_of)} (${format.money(forecast.last_price, forecast.vs_currency)}).`;
    byId("degraded").hidden = !forecast.degraded && !forecast.stale;
    byId("degraded").textContent = forecast.degraded || forecast.stale ? format.sentence(forecast.reason ?? "This answer is degraded.") : "";
    byId("fan").setAttribute("aria-label", `Price history and forecast. ${byId("said").textContent}`);
    drawTables(forecast);
  }

  function drawTables(forecast) {
    const levels = Object.keys(forecast.points[0].intervals);
    fillTable(byId("points"), ["Until", "Median", ...levels.flatMap((l) => [`${l} % from`, `${l} % to`]), "Volatility a year"],
      forecast.points.map((p) => [pointLabel(p), format.price(p.price),
        ...levels.flatMap((l) => [format.price(p.intervals[l].lower), format.price(p.intervals[l].upper)]),
        format.share(p.volatility?.annualised_percent, 0)]));
    fillTable(byId("record"), ["Ahead", "Forecasts", "80 % covered", "95 % covered", "CRPS skill %", "Mean error %", "Mean error of the last price %"],
      (forecast.record?.horizons ?? []).map((h) => [h.horizon_hours ? `${h.horizon_hours} h` : `${h.horizon_days} d`, format.count(h.forecasts),
        format.share(h.coverage_80_percent), format.share(h.coverage_95_percent), format.percent(h.crps_skill_percent, 2),
        format.share(h.mape_percent, 2), format.share(h.random_walk_mape_percent, 2)]), "This forecast has no measured record.");
  }

  function fail(id, error, retry) {
    const place = byId(id);
    const wait = error.retrySeconds ? ` Try again in ${format.plural(error.retrySeconds, "second")}.` : "";
    // Another request for an unknown coin would fail again.
    const absent = error.status === 404;
    const healsItself = !error.status || error.status === 429 || error.status >= 500;
    if (healsItself) waitFor(error.retrySeconds);
    const text = format.sentence(error.message) + (absent ? " Find a coin above by its name, symbol or id." : wait);
    // Setting the same sentence again would make a screen reader repeat it.
    if (!place.hidden && place.firstChild?.textContent === text) return;
    place.hidden = false;
    place.replaceChildren(element("p", {}, text),
      ...(absent ? [] : [element("button", { type: "button", onclick: retry }, "Try again")]));
  }

  async function loadHistory(id, mine, signal) {
    try {
      const reply = await get(`/coins/${encodeURIComponent(id)}/history`, { days: state.get().span }, signal);
      if (mine !== round) return;
      byId("history-problem").hidden = true;
      if (reply.partial_reason) waitFor(reply.retry_after_seconds);
      shown.candles = reply.candles.map((c) => ({ ...c, daily: true, at: Date.parse(`${c.date}T00:00:00Z`) + charts.DAY_MS }));
      byId("history-note").textContent = [reply.truncated ? reply.truncated_reason : "", reply.partial_reason ?? "", reply.missing_dates?.length ? `Missing in this history: ${format.plural(reply.missing_dates.length, "day")}.` : ""].filter(Boolean).join(" ");
      draw();
    } catch (error) {
      // An unknown coin is reported once, in place of the forecast.
      if (mine === round && error.name !== "AbortError" && error.status !== 404) fail("history-problem", error, () => show(true));
    }
  }

  async function loadForecast(id, mine, signal) {
    byId("words").setAttribute("aria-busy", "true");
    try {
      const forecast = await requestForecast(id, state.get().model, signal);
      if (mine !== round) return;
      shown.forecast = forecast;
      byId("problem").hidden = true;
      drawWords();
      draw();
      window.Coincast.touch?.reset(shown);
    } catch (error) {
      if (mine !== round || error.name === "AbortError") return;
      clearForecast();
      draw();
      fail("problem", error, () => show(true));
    } finally {
      if (mine === round) byId("words").removeAttribute("aria-busy");
    }
  }

  function waitFor(seconds) {
    shown.askAt = Math.min(shown.askAt, Date.now() + 1000 * Math.max(seconds ?? USUAL_WAIT_SECONDS, LEAST_WAIT_SECONDS));
    drawProgress();
  }

  // While an answer waits for CoinGecko or for a service, say what is fetched, and ask again in time.
  async function drawProgress() {
    const waits = state.get().view === "coin" && shown.askAt < Infinity && !document.hidden;
    if (waits && shown.loaded && Date.now() >= shown.askAt) show();
    const health = waits ? await get("/health/detailed").catch(() => null) : null;
    const words = health?.components.find((part) => part.name === "market-data")?.figures?.queue?.in_words ?? "";
    byId("progress").hidden = !words;
    byId("progress-words").textContent = words ? `Fetching ${words}.` : "";
  }

  function clearForecast() {
    shown.forecast = null;
    for (const id of ["said", "kept", "basis"]) byId(id).textContent = "";
    byId("degraded").hidden = true;
    fillTable(byId("points"), ["Until"], [], "No forecast.");
    fillTable(byId("record"), ["Ahead"], [], "No forecast.");
  }

  async function loadMarket(id, mine, signal) {
    try {
      const reply = await get("/markets", { ids: id }, signal);
      if (mine === round) { shown.market = reply.markets[0] ? live.received(reply.markets[0]) : null; drawHead(); }
    } catch { if (mine === round) drawHead(); }
  }

  async function loadQuality(id, mine, signal) {
    const place = byId("quality");
    place.textContent = "";
    try {
      const reply = await get(`/coins/${encodeURIComponent(id)}/quality`, {}, signal);
      if (mine !== round) return;
      const notes = reply.notes ?? [];
      place.textContent = `Data quality: ${format.plural(reply.missing_days, "missing day")}, ${format.plural(reply.quarantined_points, "rejected point")}.${notes.length ? ` Latest: ${notes[0]}` : ""}`;
    } catch { /* a gateway without quality reports shows none */ }
  }

  function show(force = false) {
    const { coin, view } = state.get();
    if (view !== "coin") return;
    if (coin !== shown.coin || force) {
      shown = { coin, candles: force && coin === shown.coin ? shown.candles : [], forecast: null, market: coin === shown.coin ? shown.market : null };
      if (!shown.candles.length) byId("fan").replaceChildren(element("div", { class: "skeleton tall" }));
      clearForecast();
      read("");
      for (const place of ["problem", "history-problem"]) byId(place).hidden = true;
    }
    if (!shown.forecast && byId("problem").hidden) byId("said").textContent = "Loading the forecast…";
    round += 1;
    aborter?.abort();
    aborter = new AbortController();
    const { signal } = aborter;
    Object.assign(shown, { askAt: Infinity, loaded: false });
    drawHead();
    const mine = round;
    Promise.all([loadForecast(coin, mine, signal), loadHistory(coin, mine, signal)]).then(() => { if (mine === round) shown.loaded = true; });
    loadMarket(coin, round, signal);
    loadQuality(coin, round, signal);
  }

  state.onChange((now, before) => {
    if (now.view !== "coin") return;
    if (now.style !== before.style && now.coin === before.coin) draw();
    else show();
  });
  live.onChange((changed) => { if (changed.some((row) => row.id === shown.coin)) drawHead(); });
  byId("follow").addEventListener("click", () => { watchlist.toggle(state.get().coin); drawHead(); });
  let resizing = 0;
  window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 120); });
  setInterval(() => { if (!document.hidden && state.get().view === "coin") loadMarket(shown.coin, round); }, 60_000);
  setInterval(drawProgress, 3_000);
  // The age of a price grows while it is shown.
  setInterval(() => drawFreshness(live.newest(live.latest.get(shown.coin), shown.market)), 10_000);

  window.Coincast.coin = { show, draw, requestForecast, closesAt, horizonRecord, aheadWords, ahead, HOUR_MS };
})();
