// Asking the gateway, and saying figures and tables; text is only ever set as text.
window.Coincast = (() => {
  "use strict";

  async function get(path, parameters = {}) {
    const query = new URLSearchParams(parameters).toString();
    const reply = await fetch(query ? `${path}?${query}` : path, { headers: { accept: "application/json" } });
    const body = await reply.json().catch(() => null);
    if (!reply.ok) {
      const near = body?.suggestions?.length && !/did you mean/i.test(body.detail ?? "") ? ` Did you mean ${body.suggestions.slice(0, 3).join(", ")}?` : "";
      throw new Error((body?.detail ?? `The gateway answered ${reply.status}.`) + near);
    }
    return body;
  }

  function money(value) {
    if (value === null || value === undefined) return "–";
    const digits = Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 1 ? 2 : 6;
    return value.toLocaleString("en", { minimumFractionDigits: digits === 6 ? 0 : digits, maximumFractionDigits: digits });
  }

  // A forecast stands on the close of a whole day: as_of is the midnight that ended it.
  const closedDay = (forecast) => new Date(Date.parse(forecast.as_of) - 1000).toISOString().slice(0, 10);

  const figure = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));

  function row(kind, cells) {
    const line = document.createElement("tr");
    cells.forEach((cell, index) => {
      const box = document.createElement(index === 0 || kind === "th" ? "th" : "td");
      if (kind === "th") box.scope = "col";
      else if (index === 0) box.scope = "row";
      if (typeof cell === "string" && cell.length > 40) box.className = "words";
      box.textContent = cell;
      line.append(box);
    });
    return line;
  }

  function table(id, heads, rows, empty = "Nothing yet.") {
    const target = document.getElementById(id);
    const head = document.createElement("thead");
    const body = document.createElement("tbody");
    head.append(row("th", heads));
    rows.forEach((cells) => body.append(row("td", cells)));
    if (!rows.length) body.append(row("td", [empty]));
    target.replaceChildren(target.querySelector("caption"), head, body);
  }

  return { get, money, figure, closedDay, table };
})();
