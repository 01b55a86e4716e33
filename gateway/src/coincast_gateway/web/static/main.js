// Views and controls: each choice takes effect immediately and is stored in the URL.
(() => {
  "use strict";
  const { byId, state, coin, models, health, risk, watchlist } = window.Coincast;

  function apply(now) {
    for (const view of Object.keys(state.VIEWS)) {
      byId(`view-${view}`).hidden = now.view !== view;
      const link = document.querySelector(`nav a[data-view="${view}"]`);
      if (now.view === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.querySelectorAll("[data-set]").forEach((button) => {
      button.setAttribute("aria-pressed", String(now[button.dataset.set] === button.dataset.value));
      button.disabled = button.dataset.set === "model" && now.ahead.endsWith("h");
    });
    if (now.view !== "coin") document.title = `${state.VIEWS[now.view]} · Coincast`;
  }

  document.querySelectorAll("[data-set]").forEach((button) => {
    button.addEventListener("click", () => state.set({ [button.dataset.set]: button.dataset.value }));
  });
  document.querySelectorAll("nav a[data-view]").forEach((link) => {
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      state.set({ view: link.dataset.view });
    });
  });
  state.onChange(apply);
  apply(state.get());
  coin.show();
  models.show();
  health.show();
  risk.show();
  watchlist.refresh();
})();
