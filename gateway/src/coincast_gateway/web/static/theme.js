// The theme: that of the system until the user chooses one. Runs before the first paint.
(() => {
  "use strict";
  const order = ["system", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let stored = null;
  try { stored = localStorage.getItem("theme"); } catch { /* storage is disabled: use the theme of the system */ }
  let chosen = order.includes(stored) ? stored : "system";

  function apply() {
    const dark = chosen === "dark" || (chosen === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${chosen}`;
    document.dispatchEvent(new Event("themechange"));
  }

  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      chosen = order[(order.indexOf(chosen) + 1) % order.length];
      try { localStorage.setItem("theme", chosen); } catch { /* without storage it lasts for this visit */ }
      apply();
    });
    apply();
  });
  apply();
})();
