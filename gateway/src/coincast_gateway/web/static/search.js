// The coin search: a combobox after the ARIA practices; works by keyboard alone.
(() => {
  "use strict";
  const { get } = window.Coincast;
  const input = document.getElementById("coin");
  const list = document.getElementById("coins");
  let timer = 0;
  let asked = 0;
  let at = -1;

  function close() {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function take(option) {
    input.value = option.dataset.id;
    close();
    input.form.requestSubmit();
  }

  function mark(index) {
    const options = [...list.children];
    if (!options.length) return;
    at = (index + options.length) % options.length;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    options[at].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", options[at].id);
  }

  function show(coins) {
    list.replaceChildren(...coins.map((coin, index) => {
      const option = document.createElement("li");
      option.id = `coin-${index}`;
      option.role = "option";
      option.dataset.id = coin.id;
      option.setAttribute("aria-selected", "false");
      option.append(`${coin.name} `);
      const small = document.createElement("small");
      small.textContent = `${coin.symbol.toUpperCase()} · ${coin.id}`;
      option.append(small);
      option.addEventListener("mousedown", (event) => { event.preventDefault(); take(option); });
      return option;
    }));
    at = -1;
    list.hidden = coins.length === 0;
    input.setAttribute("aria-expanded", String(coins.length > 0));
  }

  async function look() {
    const mine = ++asked;
    const words = input.value.trim();
    if (!words) return close();
    try {
      const found = await get("/coins", { query: words.slice(0, 100), limit: 8 });
      if (mine === asked && document.activeElement === input) show(found.coins);
    } catch {
      close();
    }
  }

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 180); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && at >= 0) { event.preventDefault(); take(list.children[at]); }
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) look();
      else mark(event.key === "ArrowDown" ? at + 1 : at - 1);
    }
  });
})();
