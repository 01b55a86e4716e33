// The state of the page, stored in the URL: every view has an address, and the back button works. The state is in the
// fragment, so that the server sends and caches a single document.
(() => {
  "use strict";
  const DEFAULTS = { view: "coin", coin: "bitcoin", ahead: "7d", model: "auto", span: "90", style: "line" };
  const VIEWS = { coin: "Forecast", risk: "Risk", models: "Models", health: "Health" };
  const CHOICES = {
    view: new Set(Object.keys(VIEWS)),
    ahead: new Set(["6h", "24h", "48h", "1d", "7d", "14d", "30d"]),
    model: new Set(["auto", "ml_ensemble", "lightgbm", "lstm", "technical"]),
    span: new Set(["30", "90", "365"]),
    style: new Set(["line", "candles"]),
  };
  const listeners = [];
  let current = read();

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const found = { ...DEFAULTS };
    for (const key of Object.keys(DEFAULTS)) {
      const value = given.get(key);
      if (value && (!CHOICES[key] || CHOICES[key].has(value))) found[key] = value.slice(0, 150);
    }
    return found;
  }

  function address(state) {
    const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
    const query = new URLSearchParams(changed).toString();
    return query ? `/#${query}` : "/";
  }

  function announce(before) {
    listeners.forEach((listener) => listener(current, before));
  }

  function set(changes, { replace = false } = {}) {
    const before = current;
    current = { ...current, ...changes };
    if (address(current) === address(before)) return;
    history[replace ? "replaceState" : "pushState"](null, "", address(current));
    announce(before);
  }

  window.addEventListener("popstate", () => {
    const before = current;
    current = read();
    announce(before);
  });

  window.Coincast.state = {
    get: () => current, set, address, VIEWS,
    onChange: (listener) => listeners.push(listener),
  };
})();
