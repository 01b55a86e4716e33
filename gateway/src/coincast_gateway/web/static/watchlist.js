// The watchlist: coins stored in this browser, with live price, change and a spark line.
(() => {
  "use strict";
  const { get, element, byId, format, charts, state, live } = window.Coincast;
  const KEY = "watchlist";
  const FIRST = ["bitcoin", "ethereum", "solana", "ripple", "dogecoin"];
  const MOST = 20;
  let ids = load();
  const known = new Map();

  function load() {
    try {
      const stored = JSON.parse(localStorage.getItem(KEY));
      if (Array.isArray(stored) && stored.every((id) => typeof id === "string")) return stored.slice(0, MOST);
    } catch { /* storage is off or holds something else: begin with the default coins */ }
    return FIRST;
  }

  function store() {
    try { localStorage.setItem(KEY, JSON.stringify(ids)); } catch { /* the list lasts for this visit */ }
  }

  function toggle(id) {
    ids = ids.includes(id) ? ids.filter((other) => other !== id) : [...ids, id].slice(-MOST);
    store();
    refresh();
  }

  // A round badge with the first letters of the symbol, in a colour derived from the id.
  function badge(id, symbol) {
    let hash = 0;
    for (const letter of id) hash = (hash * 31 + letter.codePointAt(0)) % 360;
    const made = element("span", { class: "badge", "aria-hidden": "true" }, (symbol || id).slice(0, 3).toUpperCase());
    made.style.setProperty("--hue", hash);
    return made;
  }

  function row(id) {
    const coin = known.get(id), price = live.latest.get(id);
    const change = price?.change_24h_percent ?? coin?.price_change_percentage_24h;
    const link = element("a", { href: state.address({ ...state.get(), view: "coin", coin: id }), class: "watch", "aria-current": state.get().coin === id ? "true" : null },
      badge(id, coin?.symbol),
      element("span", { class: "watch-name" }, coin?.name ?? id, element("small", {}, (coin?.symbol ?? "").toUpperCase())),
      charts.spark(coin?.sparkline_in_7d?.price ?? []),
      element("span", { class: "watch-price" }, format.money(price?.price ?? coin?.current_price),
        element("small", { class: change < 0 ? "fall" : "rise" }, format.percent(change))));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      state.set({ view: "coin", coin: id });
    });
    return element("li", { "data-id": id }, link);
  }

  function draw() {
    byId("watch-list").replaceChildren(...ids.map(row));
    byId("watch-empty").hidden = ids.length > 0;
  }

  async function refresh() {
    draw();
    const wanted = [...new Set([...ids, state.get().coin])];
    live.watch(wanted);
    if (!ids.length) return;
    try {
      const coins = await get("/api/v3/coins/markets", { vs_currency: "usd", ids: ids.join(","), sparkline: "true" });
      coins.forEach((coin) => known.set(coin.id, coin));
      draw();
    } catch { /* names and spark lines are optional: prices arrive through the stream */ }
  }

  live.onChange((changed) => {
    for (const { id } of changed) {
      const old = byId("watch-list").querySelector(`li[data-id="${CSS.escape(id)}"]`);
      if (!old) continue;
      const fresh = row(id);
      fresh.classList.add("changed");
      old.replaceWith(fresh);
    }
  });
  state.onChange((now, before) => { if (now.coin !== before.coin) refresh(); });

  window.Coincast.watchlist = { toggle, badge, refresh, has: (id) => ids.includes(id), all: () => [...ids] };
})();
