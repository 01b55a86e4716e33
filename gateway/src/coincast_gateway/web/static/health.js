// Health in sentences, and its trends with gaps left open; looked at again every half minute.
(() => {
  "use strict";
  const { get, charts } = window.Coincast;
  const by = (id) => document.getElementById(id);

  function part(component) {
    const item = document.createElement("li");
    const head = document.createElement("h3");
    const state = document.createElement("span");
    const sentence = document.createElement("p");
    state.className = `state ${component.status}`;
    state.textContent = component.status;
    head.append(component.name, state);
    sentence.textContent = component.sentence;
    item.append(head, sentence);
    const process = component.figures.process;
    if (process) {
      const small = document.createElement("small");
      small.textContent = `CPU ${process.cpu_percent} %, memory ${process.memory_mb} MB, disk ${process.disk_free_percent} % free`;
      item.append(small);
    }
    return item;
  }

  async function show() {
    try {
      const health = await get("/health/detailed");
      by("health-said").textContent = health.status === "ok" ? "Everything works." : `The system is ${health.status}.`;
      by("parts").replaceChildren(...health.components.map(part));
      charts.trends("trends", await get("/health/trends", { hours: by("hours").value }));
    } catch (error) {
      by("health-said").textContent = error.message;
    }
  }

  by("hours").addEventListener("change", show);
  show();
  setInterval(() => { if (!document.hidden) show(); }, 30_000);
})();
