// Charts in SVG: a fan chart with history, a spark line, lines over time, and interval bars, without a library.
// Colours come from the theme through classes, so that a change of theme needs no redraw.
(() => {
  "use strict";
  const { format } = window.Coincast;
  const NS = "http://www.w3.org/2000/svg";
  const DAY_MS = 86_400_000;
  // The share of the plot that belongs to the forecast: with the labels of the axis beside it, more than a third of the
  // whole chart, on a phone as well.
  const FORECAST_SHARE = 0.42;

  function svg(name, attributes = {}, ...children) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, String(value));
    made.append(...children);
    return made;
  }

  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
  const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);

  // Return about `wanted` round values between two bounds.
  function ticks(low, high, wanted) {
    const rough = (high - low) / Math.max(1, wanted);
    if (!(rough > 0)) return [low];
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
    return found;
  }

  // Return about `wanted` round values with the text of each.
  function labelled(low, high, wanted) {
    const values = ticks(low, high, wanted), texts = format.axis(values);
    return values.map((value, i) => [value, texts[i]]);
  }

  // A spark line; `values` oldest first.
  function spark(values, width = 76, height = 28) {
    const known = values.filter((v) => Number.isFinite(v));
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "spark", "aria-hidden": "true" });
    if (known.length < 2) return picture;
    const low = Math.min(...known), high = Math.max(...known);
    const x = scale(0, known.length - 1, 1, width - 1), y = scale(low, high, height - 2, 2);
    const rising = known.at(-1) >= known[0];
    picture.append(svg("path", { d: path(known.map((v, i) => [x(i), y(v)])), class: rising ? "rise" : "fall" }));
    return picture;
  }

  // The fan chart. `model`: { candles: [{at, open, high, low, close}], lastClose, now, points: [{at, label, price,
  // intervals: {level: {lower, upper}}}] or [], style, level: price or null }. Calls `onRead(text)` with the values at the
  // cursor and `onLevel(price)` while the price line is dragged.
  function fan(target, model, { onRead, onLevel } = {}) {
    const width = Math.max(320, target.clientWidth || 640);
    const height = Math.max(260, Math.min(440, Math.round(width * 0.5)));
    const left = 8, right = width < 500 ? 62 : 78, top = 14, bottom = 28;
    const points = model.points;
    const levels = points.length ? Object.keys(points[0].intervals).sort((a, b) => Number(b) - Number(a)) : [];
    const end = width - right;
    const nowX = points.length ? left + (end - left) * (1 - FORECAST_SHARE) : end;
    const start = model.candles.length ? model.candles[0].at : model.now - 30 * DAY_MS;
    const past = scale(start, model.now, left, nowX);
    const future = points.length ? scale(model.now, points.at(-1).at, nowX, end) : past;
    const xOf = (at) => (at <= model.now ? past(at) : future(at));

    const lows = model.candles.map((c) => (model.style === "candles" ? c.low ?? c.close : c.close));
    const highs = model.candles.map((c) => (model.style === "candles" ? c.high ?? c.close : c.close));
    for (const point of points) for (const level of levels) { lows.push(point.intervals[level].lower); highs.push(point.intervals[level].upper); }
    if (model.level) { lows.push(model.level); highs.push(model.level); }
    if (Number.isFinite(model.lastClose)) { lows.push(model.lastClose); highs.push(model.lastClose); }
    const low = Math.min(...lows), high = Math.max(...highs), pad = (high - low || Math.abs(high) || 1) * 0.06;
    const y = scale(low - pad, high + pad, height - bottom, top);
    const priceAt = (pixel) => low - pad + ((height - bottom - pixel) / (height - bottom - top)) * (high - low + 2 * pad);

    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, class: "fan", "aria-hidden": "true" });
    for (const [value, text] of labelled(low - pad, high + pad, height < 300 ? 4 : 6)) {
      picture.append(svg("line", { x1: left, x2: end, y1: y(value), y2: y(value), class: "grid" }));
      picture.append(svg("text", { x: end + 6, y: y(value) + 4, class: "tick" }, text));
    }
    drawDates(picture, model, { start, past, future, end, left, nowX, height, width });
    drawBands(picture, model, levels, xOf, y, nowX);
    drawHistory(picture, model, xOf, y, nowX, left);
    if (points.length) {
      picture.append(svg("path", { d: path([[nowX, y(model.lastClose)], ...points.map((p) => [xOf(p.at), y(p.price)])]), class: "median" }));
      picture.append(svg("line", { x1: nowX, x2: nowX, y1: top, y2: height - bottom, class: "now" }));
      picture.append(svg("text", { x: nowX - 5, y: top + 10, class: "tick now-label", "text-anchor": "end" }, "now"));
      labelEnds(picture, points, levels, y, end);
    }
    const cursor = svg("line", { y1: top, y2: height - bottom, class: "cursor", visibility: "hidden" });
    const ring = svg("circle", { r: 4, class: "cursor-ring", visibility: "hidden" });
    picture.append(cursor, ring);
    target.replaceChildren(picture);

    const stops = [
      ...model.candles.map((c) => ({ at: c.at, x: xOf(c.at), y: y(c.close), text: readCandle(c) })),
      ...points.map((p) => ({ at: p.at, x: xOf(p.at), y: y(p.price), text: readPoint(p, levels) })),
    ];
    addCursor(target, picture, stops, cursor, ring, width, onRead);
    if (onLevel) addLevel(target, picture, model, { y, priceAt, left, end, top, bottom, height, onLevel });
  }

  function readCandle(c) {
    const range = c.high && c.low ? `, from ${format.price(c.low)} to ${format.price(c.high)}` : "";
    return `${format.day(c.at - (c.daily ? 1 : 0))}: closed at ${format.price(c.close)}${range}`;
  }

  function readPoint(p, levels) {
    const spans = levels.slice().reverse().map((level) => `${level} %: ${format.price(p.intervals[level].lower)} to ${format.price(p.intervals[level].upper)}`);
    return `${p.label}: ${spans.join("; ")}; median ${format.price(p.price)}`;
  }

  function drawDates(picture, model, { start, past, future, end, left, nowX, height, width }) {
    const wanted = width < 500 ? 2 : 4;
    const dates = [];
    for (let i = 0; i < wanted; i += 1) dates.push([past(start + ((model.now - start) * i) / wanted), start + ((model.now - start) * i) / wanted]);
    const text = (at) => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(at));
    for (const [x, at] of dates) picture.append(svg("text", { x: Math.max(left, x), y: height - 8, class: "tick" }, text(at)));
    if (model.points.length) picture.append(svg("text", { x: end, y: height - 8, class: "tick", "text-anchor": "end" }, model.points.at(-1).label));
    if (model.points.length > 3 && width >= 500) {
      const middle = model.points[Math.floor(model.points.length / 2) - 1] ?? model.points[0];
      picture.append(svg("text", { x: future(middle.at), y: height - 8, class: "tick", "text-anchor": "middle" }, middle.label));
    }
    picture.append(svg("rect", { x: nowX, y: 14, width: Math.max(0, end - nowX), height: height - 42, class: "future" }));
  }

  function drawBands(picture, model, levels, xOf, y, nowX) {
    levels.forEach((level, i) => {
      const upper = [[nowX, y(model.lastClose)], ...model.points.map((p) => [xOf(p.at), y(p.intervals[level].upper)])];
      const lower = [[nowX, y(model.lastClose)], ...model.points.map((p) => [xOf(p.at), y(p.intervals[level].lower)])];
      picture.append(svg("path", { d: `${path([...upper, ...lower.reverse()])}Z`, class: `band band-${i}` }));
    });
  }

  function drawHistory(picture, model, xOf, y, nowX, left) {
    if (model.style === "candles" && model.candles.some((c) => c.high && c.low && c.open)) {
      const slot = (nowX - left) / Math.max(1, model.candles.length);
      const body = Math.max(1, Math.min(9, slot * 0.65));
      for (const c of model.candles) {
        if (!c.open || !c.high || !c.low) continue;
        const x = xOf(c.at), kind = c.close >= c.open ? "rise" : "fall";
        picture.append(svg("line", { x1: x, x2: x, y1: y(c.high), y2: y(c.low), class: `wick ${kind}` }));
        const upper = Math.min(y(c.open), y(c.close));
        picture.append(svg("rect", { x: x - body / 2, y: upper, width: body, height: Math.max(1, Math.abs(y(c.open) - y(c.close))), class: `candle ${kind}` }));
      }
      return;
    }
    picture.append(svg("path", { d: path(model.candles.map((c) => [xOf(c.at), y(c.close)])), class: "history" }));
  }

  // Labels at the ends of the intervals, widest first; a label that would overlap is omitted.
  function labelEnds(picture, points, levels, y, end) {
    const last = points.at(-1), taken = [];
    for (const level of levels) {
      for (const side of ["upper", "lower"]) {
        const at = y(last.intervals[level][side]) + 4;
        if (taken.some((other) => Math.abs(other - at) < 13)) continue;
        taken.push(at);
        picture.append(svg("circle", { cx: end, cy: at - 4, r: 2.5, class: "end" }));
        picture.append(svg("text", { x: end - 6, y: side === "upper" ? at - 8 : at + 10, class: "end-label", "text-anchor": "end" }, `${level} %  ${format.price(last.intervals[level][side])}`));
      }
    }
  }

  function addCursor(target, picture, stops, cursor, ring, width, onRead) {
    if (!stops.length) return;
    let index = stops.length - 1;
    const show = (i) => {
      index = Math.max(0, Math.min(stops.length - 1, i));
      const stop = stops[index];
      cursor.setAttribute("x1", stop.x); cursor.setAttribute("x2", stop.x); cursor.setAttribute("visibility", "visible");
      ring.setAttribute("cx", stop.x); ring.setAttribute("cy", stop.y); ring.setAttribute("visibility", "visible");
      onRead?.(stop.text);
    };
    const hide = () => { cursor.setAttribute("visibility", "hidden"); ring.setAttribute("visibility", "hidden"); onRead?.(""); };
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * width;
      let nearest = 0;
      stops.forEach((stop, i) => { if (Math.abs(stop.x - x) < Math.abs(stops[nearest].x - x)) nearest = i; });
      show(nearest);
    });
    picture.addEventListener("pointerleave", hide);
    target.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e6, End: 1e6 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(index + step);
    };
    target.onblur = hide;
  }

  // A horizontal price line that can be dragged.
  function addLevel(target, picture, model, { y, priceAt, left, end, top, bottom, height, onLevel }) {
    if (!model.level) return;
    const line = svg("line", { x1: left, x2: end, y1: y(model.level), y2: y(model.level), class: "level" });
    const grip = svg("rect", { x: left, y: y(model.level) - 11, width: 92, height: 22, rx: 11, class: "level-grip" });
    const label = svg("text", { x: left + 46, y: y(model.level) + 4, class: "level-label", "text-anchor": "middle" }, format.price(model.level));
    const handle = svg("g", { class: "level-handle" }, line, grip, label);
    picture.append(handle);
    grip.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      grip.setPointerCapture(event.pointerId);
      const move = (moved) => {
        const box = picture.getBoundingClientRect();
        const pixel = Math.max(top, Math.min(height - bottom, ((moved.clientY - box.top) / box.height) * height));
        const price = priceAt(pixel);
        line.setAttribute("y1", pixel); line.setAttribute("y2", pixel);
        grip.setAttribute("y", pixel - 11); label.setAttribute("y", pixel + 4); label.textContent = format.price(price);
        onLevel(price, false);
        model.level = price;
      };
      const end_ = () => { grip.removeEventListener("pointermove", move); onLevel(model.level, true); };
      grip.addEventListener("pointermove", move);
      grip.addEventListener("pointerup", end_, { once: true });
    });
  }

  // Interval bars of several models at one horizon, one row per model.
  function bars(target, rows, now) {
    const width = Math.max(300, target.clientWidth || 600), rowHeight = 34, labelWidth = 104;
    const height = rows.length * rowHeight + 26;
    const low = Math.min(now, ...rows.map((r) => r.lower)), high = Math.max(now, ...rows.map((r) => r.upper));
    const pad = (high - low) * 0.05 || 1;
    const x = scale(low - pad, high + pad, labelWidth, width - 8);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, class: "bars", "aria-hidden": "true" });
    for (const [value, text] of labelled(low, high, width < 500 ? 3 : 5)) {
      picture.append(svg("line", { x1: x(value), x2: x(value), y1: 4, y2: height - 22, class: "grid" }));
      picture.append(svg("text", { x: x(value), y: height - 6, class: "tick", "text-anchor": "middle" }, text));
    }
    rows.forEach((row, i) => {
      const middle = i * rowHeight + 20;
      picture.append(svg("text", { x: 0, y: middle + 4, class: "row-label" }, row.name));
      picture.append(svg("rect", { x: x(row.lower), y: middle - 7, width: Math.max(2, x(row.upper) - x(row.lower)), height: 14, rx: 4, class: "bar" }));
      picture.append(svg("line", { x1: x(row.median), x2: x(row.median), y1: middle - 10, y2: middle + 10, class: "bar-median" }));
    });
    target.replaceChildren(picture);
  }

  // Lines over time, with gaps for missing values. `series`: [{ name, values }], `times` in ms.
  function lines(target, times, series, unit) {
    const width = Math.max(300, target.clientWidth || 600), height = 220, left = 8, right = 64, top = 10, bottom = 44;
    const known = series.flatMap((s) => s.values.filter((v) => Number.isFinite(v)));
    const high = known.length ? Math.max(...known) * 1.05 : 1;
    const x = scale(times[0] ?? 0, times.at(-1) ?? 1, left, width - right), y = scale(0, high || 1, height - bottom, top);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, class: "lines", "aria-hidden": "true" });
    for (const [value, text] of labelled(0, high, 4)) {
      picture.append(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "grid" }));
      picture.append(svg("text", { x: width - right + 6, y: y(value) + 4, class: "tick" }, `${text} ${unit}`));
    }
    series.forEach((s, i) => {
      let run = [];
      const flush = () => { if (run.length > 1) picture.append(svg("path", { d: path(run), class: `line line-${i}` })); else if (run.length) picture.append(svg("circle", { cx: run[0][0], cy: run[0][1], r: 2, class: `dot line-${i}` })); run = []; };
      s.values.forEach((value, at) => { if (Number.isFinite(value)) run.push([x(times[at]), y(value)]); else flush(); });
      flush();
      picture.append(svg("rect", { x: left + i * 86, y: height - 14, width: 14, height: 4, class: `key line-${i}` }));
      picture.append(svg("text", { x: left + i * 86 + 20, y: height - 8, class: "tick" }, s.name));
    });
    if (times.length) {
      picture.append(svg("text", { x: left, y: height - 28, class: "tick" }, format.moment(times[0])));
      picture.append(svg("text", { x: width - right, y: height - 28, class: "tick", "text-anchor": "end" }, format.moment(times.at(-1))));
    }
    target.replaceChildren(picture);
  }

  // Loss bands of a portfolio: quantiles of the change as nested bars around zero.
  function changeBands(target, quantiles) {
    const at = (p) => quantiles.find((q) => Math.abs(q.probability - p) < 1e-6)?.change;
    const pairs = [[0.05, 0.95], [0.1, 0.9], [0.25, 0.75]].filter(([a, b]) => Number.isFinite(at(a)) && Number.isFinite(at(b)));
    const width = Math.max(300, target.clientWidth || 600), height = 92;
    if (!pairs.length) { target.replaceChildren(); return; }
    const low = Math.min(0, at(pairs[0][0])), high = Math.max(0, at(pairs[0][1])), pad = (high - low) * 0.06 || 1;
    const x = scale(low - pad, high + pad, 8, width - 8);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", height, class: "bars", "aria-hidden": "true" });
    for (const [value, text] of labelled(low, high, width < 500 ? 3 : 6)) {
      picture.append(svg("line", { x1: x(value), x2: x(value), y1: 4, y2: 64, class: "grid" }));
      picture.append(svg("text", { x: x(value), y: 84, class: "tick", "text-anchor": "middle" }, text));
    }
    pairs.forEach(([a, b], i) => picture.append(svg("rect", { x: x(at(a)), y: 18 + i * 4, width: Math.max(2, x(at(b)) - x(at(a))), height: 34 - i * 8, rx: 4, class: `band band-${i}` })));
    picture.append(svg("line", { x1: x(0), x2: x(0), y1: 8, y2: 62, class: "now" }));
    target.replaceChildren(picture);
  }

  window.Coincast.charts = { spark, fan, bars, lines, changeBands, DAY_MS };
})();
