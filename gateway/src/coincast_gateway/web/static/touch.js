// The probability that the price touches a level, which is dragged on the fan chart or typed.
(() => {
  "use strict";
  const { get, byId, fillTable, format, state } = window.Coincast;
  // The level: a price, or a move in percent as it was typed, until the reply says which price that is.
  let price = null, typedMove = "";
  let shown = null;
  let timer = 0;
  let latest = 0;

  function reset(now) {
    if (shown?.coin !== now.coin) { price = null; typedMove = ""; byId("touch-level").value = ""; byId("touch-said").textContent = ""; byId("touch-days").hidden = true; }
    shown = now;
  }

  async function ask() {
    const mine = (latest += 1);
    const { count, hours } = window.Coincast.coin.ahead();
    const days = hours ? Math.max(1, Math.ceil(count / 24)) : Math.min(14, count);
    try {
      const reply = await get("/forecasts/touch", { ids: shown.coin, level: typedMove || String(Number(price.toPrecision(8))), days });
      if (mine !== latest) return;
      const level = reply.coins[0]?.levels[0];
      if (!level) throw new Error(reply.errors[0]?.message ?? "There is no touch probability for this coin.");
      if (typedMove) { price = level.price; window.Coincast.coin.draw(); }
      const last = level.days.at(-1);
      const side = level.price >= reply.coins[0].last_price ? "above" : "below";
      byId("touch-said").textContent =
        `The price touches ${format.money(level.price)} (${format.percent(level.percent)} from ${format.money(reply.coins[0].last_price)}) within ${format.plural(days, "day")} with a chance of ` +
        `${format.chance(last.touch_probability)}; it closes ${side} it on ${format.day(last.date)} with ${format.chance(last.close_beyond_probability)}. ${format.record(reply.basis)}`;
      fillTable(byId("touch-table"), ["Until", "Touched by then", "Closes beyond"], level.days.map((d) => [format.day(d.date),
        format.chance(d.touch_probability), format.chance(d.close_beyond_probability)]));
      byId("touch-days").hidden = false;
    } catch (error) {
      if (mine === latest) { byId("touch-said").textContent = error.message; byId("touch-days").hidden = true; }
    }
  }

  // The chart is not redrawn while the line is dragged; the request is sent once the line stops.
  function move(level, done) {
    price = level;
    typedMove = "";
    byId("touch-level").value = String(Number(level.toPrecision(6)));
    clearTimeout(timer);
    timer = setTimeout(ask, done ? 0 : 200);
  }

  byId("touch-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = byId("touch-level").value.trim().replace(/,/g, "");
    const move = typed.match(/^([+−-]?[0-9]+(?:\.[0-9]+)?) ?%$/)?.[1].replace("−", "-");
    const given = move === undefined ? Number(typed.replace(/^\$/, "") || NaN) : 100 + Number(move);
    if (!(given > 0)) { byId("touch-said").textContent = "Type a price such as 120000, or a move such as -5%."; return; }
    typedMove = move === undefined ? "" : `${move}%`;
    if (!typedMove) { price = given; window.Coincast.coin.draw(); }
    ask();
  });
  byId("touch-line").addEventListener("click", () => {
    if (!shown?.forecast) return;
    price = price ?? shown.forecast.points.at(-1).intervals["80"]?.upper ?? shown.forecast.last_price * 1.05;
    window.Coincast.coin.draw();
    move(price, true);
  });
  state.onChange((now, before) => { if (now.coin !== before.coin) reset({ coin: now.coin, forecast: null }); });

  window.Coincast.touch = { level: () => price, move, reset };
})();
