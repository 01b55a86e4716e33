// The risk view: a form of holdings; loss bands, contributions and worst cases.
(() => {
  "use strict";
  const { post, element, byId, fillTable, format, charts, state, watchlist } = window.Coincast;
  const KEY = "holdings";

  function load() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      if (Array.isArray(stored) && stored.length) return stored.slice(0, 50);
    } catch { /* start with an example */ }
    return watchlist.all().slice(0, 3).map((id, i) => ({ id, kind: "value", size: [6000, 3000, 1000][i] }));
  }

  function line(holding) {
    const remove = element("button", { type: "button", class: "quiet", "aria-label": `Remove ${holding.id || "this holding"}`, onclick: () => made.remove() }, "✕");
    const made = element("div", { class: "holding" },
      element("input", { "aria-label": "Coin id", value: holding.id, placeholder: "bitcoin", required: true, autocomplete: "off", spellcheck: "false" }),
      element("input", { "aria-label": "Size, negative for short", type: "number", step: "any", value: holding.size ?? "", required: true }),
      element("select", { "aria-label": "Unit" },
        element("option", { value: "value", selected: holding.kind === "value" }, "dollars"),
        element("option", { value: "amount", selected: holding.kind === "amount" }, "coins")),
      remove);
    return made;
  }

  function read() {
    return [...byId("holdings").children].map((row) => {
      const [id, size] = row.querySelectorAll("input");
      return { id: id.value.trim().toLowerCase(), kind: row.querySelector("select").value, size: Number(size.value) };
    }).filter((h) => h.id && h.size);
  }

  async function assess(event) {
    event?.preventDefault();
    const holdings = read();
    const place = byId("risk-problem");
    place.hidden = true;
    if (!holdings.length) { place.hidden = false; place.textContent = "Enter at least one coin with its size."; return; }
    try { localStorage.setItem(KEY, JSON.stringify(holdings)); } catch { /* without storage they last for this visit */ }
    byId("risk-result").setAttribute("aria-busy", "true");
    try {
      const days = Number(byId("risk-days").value);
      const answer = await post("/risk/portfolio", { holdings: holdings.map((h) => ({ id: h.id, [h.kind]: h.size })), days });
      draw(answer, days);
      byId("risk-result").hidden = false;
    } catch (error) {
      byId("risk-result").hidden = true;
      place.hidden = false;
      place.textContent = error.message;
    } finally {
      byId("risk-result").removeAttribute("aria-busy");
    }
  }

  function draw(answer, days) {
    const unit = format.currency(answer.vs_currency ?? "usd");
    const said = answer.levels.filter((l) => l.value_at_risk !== null && l.value_at_risk !== undefined);
    const main = said.find((l) => l.level_percent === 95) ?? said[0];
    byId("risk-said").textContent = main
      ? `Your holdings are worth ${format.price(answer.value)} ${unit}. Over ${format.plural(days, "day")}, ${main.level_percent} times in 100 they lose less than ` +
        `${format.price(main.value_at_risk)} ${unit} (${format.share((100 * main.value_at_risk) / answer.gross_value)}); in the other ${Number((100 - main.level_percent).toFixed(2))} they lose ${format.price(main.expected_shortfall)} on average.`
      : "No loss can be estimated for these holdings.";
    byId("risk-kept").textContent = format.record(answer.basis);
    byId("risk-left-out").replaceChildren(...(answer.errors ?? []).map((e) => element("li", {}, `${e.id}: ${e.message.replace(/[.!]?$/, ".")} It is not included in any figure.`)));
    charts.changeBands(byId("risk-bands"), answer.change_quantiles ?? []);
    byId("risk-bands").setAttribute("aria-label", byId("risk-said").textContent);
    fillTable(byId("risk-levels"), ["Level", "Value at risk", "Expected shortfall", "From scenarios", "Note"], answer.levels.map((l) => [
      `${l.level_percent} %`, l.value_at_risk === null || l.value_at_risk === undefined ? "–" : format.price(l.value_at_risk),
      l.expected_shortfall === null || l.expected_shortfall === undefined ? "–" : format.price(l.expected_shortfall), `${l.tail_scenarios} in ${l.tail_episodes} episodes`,
      l.refused || (l.indicative ? `indicative, ± ${l.relative_error_percent ?? 13} %` : "")]));
    fillTable(byId("risk-parts"), ["Coin", "Contribution to the expected shortfall", "Share"], (main?.components ?? []).map((c) => [c.id, format.price(c.expected_shortfall), format.share(c.share_percent)]));
    fillTable(byId("risk-worst"), ["If the days after this date were repeated", "Change", "Percent"], (answer.worst ?? []).map((w) => [format.day(w.origin_date), format.price(w.change), format.percent(w.change_percent)]));
  }

  byId("risk-form").addEventListener("submit", assess);
  byId("add-holding").addEventListener("click", () => { byId("holdings").append(line({ id: "", kind: "value" })); byId("holdings").lastElementChild.querySelector("input").focus(); });
  byId("take-watchlist").addEventListener("click", () => byId("holdings").replaceChildren(...watchlist.all().map((id) => line({ id, kind: "value", size: 1000 }))));

  function show() {
    if (state.get().view !== "risk" || byId("holdings").children.length) return;
    byId("holdings").replaceChildren(...load().map(line));
    assess();
  }
  state.onChange(show);
  window.Coincast.risk = { show };
})();
