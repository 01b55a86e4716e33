// Live prices: server-sent events, or polling if the stream is not available.
(() => {
  "use strict";
  const { get } = window.Coincast;
  const POLL_MS = 30_000;
  const latest = new Map();
  const listeners = [];
  let source = null, timer = 0, watched = "";

  // A row states its age when it was sent; its age grows while it is shown.
  const received = (row) => ({ ...row, receivedAt: Date.now() });
  const ageSeconds = (row) => row.age_seconds + Math.max(0, Date.now() - row.receivedAt) / 1000;
  // The younger of two rows of one coin; either may be missing.
  const newest = (a, b) => (!a || !b ? a ?? b : ageSeconds(b) < ageSeconds(a) ? b : a);

  // Names where the figures on the page come from: CoinGecko, or the sandbox, whose figures are no market prices.
  function nameSource(name) {
    document.getElementById(name === "sandbox" ? "sandbox" : "attribution").hidden = false;
  }

  function publish(rows) {
    const changed = rows.filter((row) => latest.get(row.id)?.price !== row.price || latest.get(row.id)?.stale !== row.stale);
    rows.forEach((row) => latest.set(row.id, received(row)));
    // The watchlist shows prices beside every view.
    rows.forEach((row) => nameSource(row.source));
    if (changed.length) listeners.forEach((listener) => listener(changed));
  }

  async function poll() {
    clearTimeout(timer);
    if (!document.hidden) {
      try { publish((await get("/prices", { ids: watched, vs_currencies: "usd" })).prices); } catch { /* the page keeps the last prices with their age */ }
    }
    timer = setTimeout(poll, POLL_MS);
  }

  function watch(ids) {
    const wanted = [...new Set(ids)].sort().join(",");
    if (!wanted || wanted === watched) return;
    watched = wanted;
    source?.close();
    clearTimeout(timer);
    source = new EventSource(`/prices/stream?ids=${encodeURIComponent(wanted)}&vs_currencies=usd`);
    const read = (event) => { try { publish(JSON.parse(event.data).prices ?? []); } catch { /* a malformed event is skipped */ } };
    source.onmessage = read;
    source.addEventListener("prices", read);
    source.onerror = () => {
      // A closed source does not reconnect, since the gateway rejected it; poll instead.
      if (source.readyState === EventSource.CLOSED) poll();
    };
  }

  window.Coincast.live = { watch, latest, received, ageSeconds, newest, nameSource, onChange: (listener) => listeners.push(listener) };
})();
