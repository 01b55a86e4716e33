// Requests to the gateway, and helpers that build elements. Text is always set as text, never as markup.
(() => {
  "use strict";

  class ApiError extends Error {
    constructor(message, status, retrySeconds) {
      super(message);
      this.status = status;
      this.retrySeconds = retrySeconds;
    }
  }

  async function request(path, options = {}) {
    let reply;
    try {
      reply = await fetch(path, { headers: { accept: "application/json", ...(options.headers ?? {}) }, ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The gateway cannot be reached. Check that it runs and that you are online.", 0, null);
    }
    const body = await reply.json().catch(() => null);
    if (!reply.ok) {
      const suggestions = body?.suggestions ?? [];
      const hint = suggestions.length && !/did you mean/i.test(body.detail ?? "") ? ` Did you mean ${suggestions.slice(0, 3).join(", ")}?` : "";
      throw new ApiError((body?.detail ?? `The gateway answered ${reply.status}.`) + hint, reply.status, Number(reply.headers.get("retry-after")) || null);
    }
    return body;
  }

  const get = (path, parameters = {}, signal = undefined) => {
    const query = new URLSearchParams(parameters).toString();
    return request(query ? `${path}?${query}` : path, { signal });
  };

  const post = (path, body) =>
    request(path, { method: "POST", body: JSON.stringify(body), headers: { accept: "application/json", "content-type": "application/json" } });

  // element("p", { class: "hint", hidden: true }, "text", child)
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function fillTable(table, heads, rows, empty = "Nothing yet.") {
    // A column of sentences begins at the left, with its heading. On a phone its sentences get a line of their own below the figures.
    const words = heads.map((_, i) => i > 0 && rows.some((row) => typeof row[i] === "string" && row[i].length > 40));
    const cell = (kind, scope, text, i) => element(kind, { scope, class: words[i] ? "words" : null }, text);
    const head = element("thead", {}, element("tr", {}, ...heads.map((text, i) => cell("th", "col", text, i))));
    const lines = rows.flatMap((row) => {
      const figures = element("tr", {}, ...row.map((text, i) => (i === 0 ? cell("th", "row", text, i) : cell("td", null, text, i))));
      const sentences = row.filter((text, i) => words[i] && text);
      if (!sentences.length) return [figures];
      const below = sentences.map((text) => element("p", {}, text));
      return [figures, element("tr", { class: "below" }, element("td", { colspan: heads.length - words.filter(Boolean).length }, ...below))];
    });
    if (!rows.length) lines.push(element("tr", {}, element("td", { colspan: heads.length, class: "empty" }, empty)));
    const caption = table.querySelector("caption");
    table.replaceChildren(...(caption ? [caption] : []), head, element("tbody", {}, ...lines));
  }

  Object.assign(window.Coincast, { get, post, element, fillTable, ApiError, byId: (id) => document.getElementById(id) });
})();
