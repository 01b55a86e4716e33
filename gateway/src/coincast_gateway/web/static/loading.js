// Says so if a script of the page cannot be loaded, or is late: without it the page would say "Loading" forever.
(() => {
  "use strict";
  const LATE_MS = 20_000;
  let loaded = false;

  function say(text) {
    const said = document.getElementById("said");
    if (said) said.textContent = text;
  }

  // Errors of loading do not bubble, so they are caught on their way down.
  window.addEventListener("error", (event) => {
    if (!(event.target instanceof HTMLScriptElement)) return;
    const text = "A part of this page could not be loaded. Reload the page.";
    say(text);
    // A script that was loaded earlier may have written over it, or the page is not parsed yet.
    document.addEventListener("DOMContentLoaded", () => say(text));
  }, true);
  document.addEventListener("DOMContentLoaded", () => { loaded = true; });
  setTimeout(() => { if (!loaded) say("This page is still loading. Reload it if nothing follows."); }, LATE_MS);
})();
