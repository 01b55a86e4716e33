// The models view: intervals of all models for the selected coin and horizon, and the accuracy of served forecasts.
(() => {
  "use strict";
  const { get, byId, fillTable, format, charts, state, coin, element } = window.Coincast;

  async function compare() {
    const { coin: id } = state.get();
    byId("compare-said").textContent = `80 % intervals for ${id} in ${coin.aheadWords(coin.ahead())}. A narrower interval is better if its coverage is close to 80 %.`;
    try {
      const { models } = await get("/forecasts/models");
      const reach = coin.ahead().hours ? "max_horizon_hours" : "max_horizon_days";
      const ready = models.filter((model) => model.ready && model.name !== "auto" && model[reach] > 0);
      const replies = await Promise.allSettled(ready.map((model) => coin.requestForecast(id, model.name)));
      const rows = replies.flatMap((reply, i) => {
        if (reply.status !== "fulfilled") return [];
        const point = reply.value.points.at(-1), span = point.intervals["80"];
        return span ? [{ name: ready[i].name, lower: span.lower, upper: span.upper, median: point.price, last: reply.value.last_price }] : [];
      });
      if (rows.length) charts.bars(byId("bars"), rows, rows[0].last);
      fillTable(byId("models"), ["Model", "Version", "80 % covered", "CRPS skill %", "Measured at", "Description"], models.map((model) => {
        // An hourly model has no accuracy in days; the column "Measured at" names its own horizon.
        const h = coin.horizonRecord(model.record) ?? model.record?.horizons?.at(-1);
        const measured = h ? format.plural(h.horizon_hours || h.horizon_days, h.horizon_hours ? "hour" : "day") : "–";
        return [model.name, model.version || "–", format.share(h?.coverage_80_percent), format.percent(h?.crps_skill_percent, 2), measured, model.ready ? model.description.replaceAll("`", "") : `Not ready: ${model.reason}`];
      }));
    } catch (error) {
      byId("compare-said").textContent = error.message;
    }
  }

  async function accuracy() {
    try {
      const record = await get("/forecasts/accuracy", { days: 30 });
      const scored = record.ledger?.scored_forecasts ?? 0, stored = record.ledger?.stored_forecasts ?? 0;
      byId("accuracy-said").textContent = scored
        ? `${format.count(scored)} of ${format.count(stored)} served forecasts have been scored.`
        : `No served forecast has been scored yet; ${format.count(stored)} wait for the end of their day.`;
      fillTable(byId("live"), ["Model", "Ahead", "Forecasts", "80 % covered", "95 % covered", "CRPS skill %"], record.live.map((r) => [
        `${r.model} ${r.version}${r.id ? ` · ${r.id}` : ""}`, r.horizon.horizon_hours ? `${r.horizon.horizon_hours} h` : `${r.horizon.horizon_days} d`,
        format.count(r.horizon.forecasts), format.share(r.horizon.coverage_80_percent), format.share(r.horizon.coverage_95_percent), format.percent(r.horizon.crps_skill_percent, 2)]), "Nothing to show yet.");
      origins(record.by_origin_hour ?? []);
      risk(record.risk ?? []);
    } catch (error) {
      byId("accuracy-said").replaceChildren(error.message, " ", element("button", { type: "button", onclick: accuracy }, "Try again"));
    }
  }

  // The records of all models and all stated probabilities together; the reply also has them separately.
  function risk(records) {
    const words = { touch: "Touches", close_beyond: "Closes beyond", exceedance: "Losses beyond" };
    const rows = records.filter((r) => !r.served_by && (r.level_percent !== null || (r.probability_from === 0 && r.probability_to === 1)));
    fillTable(byId("risk-record"), ["Answer", "Ahead", "Answers", "Promised", "Came true"], rows.map((r) => [
      r.level_percent === null ? words[r.kind] : `${words[r.kind]} the ${r.level_percent} % VaR`, `${r.horizon_days} d`, format.count(r.statements),
      `${r.promised_percent.toFixed(1)} ± ${r.standard_error_percent?.toFixed(1) ?? "–"} %`, format.share(r.observed_percent)]), "No risk answer has been scored yet.");
  }

  // One row per hour of the day and one column per horizon, since coverage may differ between hours.
  function origins(records) {
    const production = records.filter((r) => r.variant === "production" && r.horizon.horizon_hours);
    const horizons = [...new Set(production.map((r) => r.horizon.horizon_hours))].sort((a, b) => a - b);
    const cell = (hour, horizon) => {
      const found = production.filter((r) => r.origin_hour === hour && r.horizon.horizon_hours === horizon && r.horizon.coverage_80_percent !== null);
      const count = found.reduce((sum, r) => sum + r.horizon.forecasts, 0);
      return count ? `${format.share(found.reduce((sum, r) => sum + r.horizon.forecasts * r.horizon.coverage_80_percent, 0) / count)} of ${format.count(count)}` : "–";
    };
    const hours = [...new Set(production.map((r) => r.origin_hour))].sort((a, b) => a - b);
    byId("origins-part").hidden = !hours.length;
    fillTable(byId("origins"), ["Made at (UTC)", ...horizons.map((h) => `${h} h`)], hours.map((hour) => [`${String(hour).padStart(2, "0")}:00`, ...horizons.map((h) => cell(hour, h))]));
  }

  function show() {
    if (state.get().view !== "models") return;
    compare();
    accuracy();
  }
  state.onChange(show);
  window.Coincast.models = { show };
})();
