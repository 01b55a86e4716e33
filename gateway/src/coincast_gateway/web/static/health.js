// The health view: components in sentences, and response times of the last hours or days, refreshed every 30 seconds.
(() => {
  "use strict";
  const { get, charts, element, byId, state } = window.Coincast;

  function component(part) {
    const process = part.figures?.process;
    return element("li", {},
      element("h3", {}, part.name, element("span", { class: `state ${part.status}` }, part.status)),
      element("p", {}, part.sentence),
      process ? element("small", {}, `CPU ${process.cpu_percent} %, memory ${process.memory_mb} MB, disk ${process.disk_free_percent} % free`) : null);
  }

  async function show() {
    if (state.get().view !== "health") return;
    try {
      const health = await get("/health/detailed");
      byId("health-said").textContent = health.sentence ?? (health.status === "ok" ? "Everything works." : `The system is ${health.status}.`);
      byId("parts").replaceChildren(...health.components.map(component));
      const trends = await get("/health/trends", { hours: byId("hours").value });
      // The axis begins with the first sample: a system that started a minute ago has no day to show.
      const points = trends.points.slice(Math.max(0, trends.points.findIndex((p) => p.sample)));
      const pick = (key) => points.map((p) => p.sample?.[key] ?? NaN);
      charts.lines(byId("trends"), points.map((p) => Date.parse(p.at)),
        [{ name: "median", values: pick("p50_ms") }, { name: "95 %", values: pick("p95_ms") }, { name: "99 %", values: pick("p99_ms") }], "ms");
    } catch (error) {
      byId("health-said").textContent = error.message;
    }
  }

  byId("hours").addEventListener("change", show);
  state.onChange(show);
  setInterval(() => { if (!document.hidden) show(); }, 30_000);
  window.Coincast.health = { show };
})();
