// The coin search: a combobox that follows the ARIA practices, for ids, symbols and names, usable with the keyboard.
(() => {
  "use strict";
  const { get, element, byId, state } = window.Coincast;
  const input = byId("search"), list = byId("found");
  let timer = 0, latest = 0, at = -1;

  function close() {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function choose(id) {
    input.value = "";
    close();
    state.set({ view: "coin", coin: id });
    byId("coin-name").focus({ preventScroll: false });
  }

  function mark(index) {
    const options = [...list.children];
    if (!options.length) return;
    at = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    options[at].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[at].id);
  }

  function draw(coins) {
    list.replaceChildren(...coins.map((coin, index) => element("li", {
      id: `found-${index}`, role: "option", "data-id": coin.id, "aria-selected": "false",
      onmousedown: (event) => { event.preventDefault(); choose(coin.id); },
    }, `${coin.name} `, element("small", {}, `${coin.symbol.toUpperCase()} · ${coin.id}`))));
    at = -1;
    list.hidden = coins.length === 0;
    input.setAttribute("aria-expanded", String(coins.length > 0));
  }

  // Exact symbols come first, then an exact id, then the order of the gateway.
  function rank(coins, words) {
    const exact = (coin) => (coin.symbol.toLowerCase() === words ? 0 : coin.id === words ? 1 : 2);
    return coins.map((coin, i) => [exact(coin), i, coin]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , coin]) => coin);
  }

  async function find() {
    const words = input.value.trim().toLowerCase();
    return words ? rank((await get("/coins", { query: words.slice(0, 100), limit: 8 })).coins, words) : [];
  }

  async function look() {
    const mine = ++latest;
    if (!input.value.trim()) { close(); return; }
    try {
      const coins = await find();
      if (mine === latest && document.activeElement === input) draw(coins);
    } catch { close(); }
  }

  async function enter() {
    if (at >= 0) { choose(list.children[at].dataset.id); return; }
    const words = input.value.trim().toLowerCase();
    if (!words) return;
    clearTimeout(timer);
    latest += 1;
    try { choose((await find())[0]?.id ?? words); } catch { choose(words); }
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 150); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter") { event.preventDefault(); enter(); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) look();
      else mark(event.key === "ArrowDown" ? at + 1 : at - 1);
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); input.focus(); }
  });
})();
