// The charts, in the colours of the theme; each can be drawn again when the theme changes.
(() => {
  "use strict";
  const { closedDay } = window.Coincast;
  const drawn = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function layout(more) {
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--ink"), size: 13 },
      margin: { l: 8, r: 8, t: 8, b: 8 }, hovermode: "x unified", legend: { orientation: "h", y: -0.15 },
      hoverlabel: { bgcolor: colour("--raised"), font: { color: colour("--ink") } },
      xaxis: { ...axis, ...(more.xaxis ?? {}) }, yaxis: { ...axis, ...(more.yaxis ?? {}) },
    };
  }

  function draw(id, make) {
    drawn.set(id, make);
    const { traces, more } = make();
    Plotly.react(id, traces, layout(more), { displayModeBar: false, responsive: true });
  }

  // A band is drawn as its upper edge and back along its lower one; it opens from the last close.
  function band(forecast, level, alpha) {
    const points = forecast.points;
    const dates = [closedDay(forecast), ...points.map((p) => p.date)];
    const upper = [forecast.last_price, ...points.map((p) => p.intervals[level].upper)];
    const lower = [forecast.last_price, ...points.map((p) => p.intervals[level].lower)];
    return {
      x: [...dates, ...dates.slice().reverse()], y: [...upper, ...lower.reverse()], fill: "toself", type: "scatter",
      mode: "none", fillcolor: `rgba(${colour("--band")}, ${alpha})`, name: `${level} % interval`, hoverinfo: "skip",
    };
  }

  function fan(id, history, forecast) {
    draw(id, () => {
      const levels = Object.keys(forecast.points[0].intervals).sort((a, b) => b - a);
      const bands = levels.map((level, index) => band(forecast, level, 0.16 + 0.14 * index));
      const median = {
        x: [closedDay(forecast), ...forecast.points.map((p) => p.date)],
        y: [forecast.last_price, ...forecast.points.map((p) => p.price)],
        mode: "lines", line: { color: colour("--median"), width: 2.5, dash: "dot" }, name: "median",
      };
      const closes = {
        x: history.candles.map((c) => c.date), y: history.candles.map((c) => c.close),
        mode: "lines", line: { color: colour("--history"), width: 2 }, name: "close",
      };
      return { traces: [...bands, closes, median], more: { yaxis: { title: { text: forecast.vs_currency.toUpperCase() } } } };
    });
  }

  const PALETTE = ["--median", "--warn", "--bad", "--soft", "--history"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

  // Medians of honest models lie close together; what tells them apart is how wide they think the future is.
  function medians(id, forecasts) {
    draw(id, () => ({
      traces: forecasts.flatMap((forecast, index) => {
        const level = Object.keys(forecast.points[0].intervals)[0];
        const line = { color: colour(PALETTE[index % 5]), dash: DASHES[index % 5], width: 2 };
        const edge = (side, shown) => ({
          x: forecast.points.map((p) => p.date), y: forecast.points.map((p) => p.intervals[level][side]), mode: "lines",
          name: `${forecast.model}, ${level} % interval`, legendgroup: forecast.model, showlegend: shown, line,
        });
        const middle = {
          x: forecast.points.map((p) => p.date), y: forecast.points.map((p) => p.price), mode: "markers",
          name: `${forecast.model}, median`, legendgroup: forecast.model, showlegend: false, marker: { color: line.color, size: 6 },
        };
        return [edge("upper", true), edge("lower", false), middle];
      }),
      more: {},
    }));
  }

  function trends(id, document_) {
    draw(id, () => {
      const at = document_.points.map((p) => new Date(p.at * 1000));
      const line = (name, key, shade, dash) => ({
        x: at, y: document_.points.map((p) => p.sample?.[key] ?? null), mode: "lines+markers", connectgaps: false,
        marker: { size: 4 }, name, line: { color: colour(shade), dash, width: 2 },
      });
      const traces = [line("p50 ms", "p50_ms", "--median", "solid"), line("p95 ms", "p95_ms", "--warn", "dash"), line("p99 ms", "p99_ms", "--bad", "dot")];
      const range = [at[0], new Date((document_.points.at(-1).at + document_.step_seconds) * 1000)];
      return { traces, more: { yaxis: { title: { text: "milliseconds" }, rangemode: "tozero" }, xaxis: { range, type: "date" } } };
    });
  }

  document.addEventListener("themechange", () => drawn.forEach((make, id) => draw(id, make)));
  window.Coincast.charts = { fan, medians, trends };
})();
