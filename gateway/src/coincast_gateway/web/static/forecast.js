// The forecast with its history and record, the models side by side, and the live record.
(() => {
  "use strict";
  const { get, money, figure, closedDay, table, charts } = window.Coincast;
  const by = (id) => document.getElementById(id);
  const RECORD = ["Days ahead", "Forecasts", "MASE", "Skill %", "CRPS skill %", "In 80 %", "In 95 %"];

  const recorded = (h) => [
    `${h.horizon_days}`, `${h.forecasts}`, figure(h.mase, 3), figure(h.skill_percent), figure(h.crps_skill_percent),
    figure(h.coverage_80_percent, 1), figure(h.coverage_95_percent, 1),
  ];

  function tell(forecast) {
    const last = forecast.points.at(-1);
    const level = Object.keys(last.intervals)[0];
    const { lower, upper } = last.intervals[level];
    const unit = forecast.vs_currency.toUpperCase();
    const who = forecast.served_by === forecast.model ? forecast.model : `${forecast.served_by} (asked for ${forecast.model})`;
    const worse = forecast.degraded ? ` Degraded: ${forecast.reason ?? "see the figures"}` : "";
    by("said").textContent =
      `${forecast.id}: ${money(forecast.last_price)} ${unit} at the close of ${closedDay(forecast)}; median ` +
      `${money(last.price)} on ${last.date}, with ${level} % between ${money(lower)} and ${money(upper)}. ` +
      `${who} ${forecast.version}, data: ${forecast.source}.${worse}`;
    by("fan").setAttribute("aria-label", by("said").textContent);
    by("sandbox").hidden = forecast.source !== "sandbox";
  }

  function figures(forecast) {
    const levels = Object.keys(forecast.points[0].intervals);
    const heads = ["Day", "Median", ...levels.flatMap((l) => [`${l} % from`, `${l} % to`]), "Chance of a rise"];
    const rows = forecast.points.map((p) => [
      p.date, money(p.price), ...levels.flatMap((l) => [money(p.intervals[l].lower), money(p.intervals[l].upper)]),
      p.probability_of_rise === null ? "–" : `${(100 * p.probability_of_rise).toFixed(0)} %`,
    ]);
    table("points", heads, rows);
    table("record", RECORD, (forecast.record?.horizons ?? []).map(recorded), "This answer has no measured record.");
  }

  async function show(event) {
    event?.preventDefault();
    const id = by("coin").value.trim().toLowerCase();
    const days = by("days").value;
    by("problem").hidden = true;
    by("said").textContent = "Asking…";
    try {
      const [reply, history] = await Promise.all([
        get("/forecasts", { ids: id, days, model: by("model").value }),
        get(`/coins/${encodeURIComponent(id)}/history`, { days: by("span").value }),
      ]);
      const forecast = reply.forecasts[0];
      charts.fan("fan", history, forecast);
      tell(forecast);
      figures(forecast);
      await compare(id, days);
    } catch (error) {
      by("said").textContent = "";
      by("problem").textContent = error.message;
      by("problem").hidden = false;
    }
  }

  async function compare(id, days) {
    const { models } = await get("/forecasts/models");
    const ready = models.filter((model) => model.ready && model.name !== "auto");
    const replies = await Promise.allSettled(ready.map((model) => get("/forecasts", { ids: id, days, model: model.name })));
    const forecasts = replies.filter((r) => r.status === "fulfilled").map((r) => r.value.forecasts[0]);
    if (forecasts.length) charts.medians("medians", forecasts);
    const best = (model) => model.record?.horizons.find((h) => h.horizon_days === Number(days)) ?? model.record?.horizons[0];
    table("models", ["Model", "Version", "Ready", "MASE", "Skill %", "CRPS skill %", "In 80 %", "What it is"], models.map((model) => {
      const h = best(model);
      return [
        model.name, model.version || "–", model.ready ? "yes" : "no", figure(h?.mase, 3), figure(h?.skill_percent),
        figure(h?.crps_skill_percent), figure(h?.coverage_80_percent, 1), model.ready ? model.description : model.reason,
      ];
    }));
  }

  async function accuracy() {
    try {
      const record = await get("/forecasts/accuracy", { days: 30 });
      by("accuracy-said").textContent = `${record.ledger?.scored_forecasts ?? 0} of ${record.ledger?.stored_forecasts ?? 0} served forecasts have been scored.`;
      const rows = record.live.map((r) => [`${r.model} ${r.version}${r.id ? ` · ${r.id}` : ""}`, ...recorded(r.horizon)]);
      table("live", ["Model", ...RECORD], rows, "No served forecast has met its day yet.");
    } catch (error) {
      by("accuracy-said").textContent = error.message;
    }
  }

  by("ask").addEventListener("submit", show);
  show();
  accuracy();
})();
