"use strict";
// Keeps the dashboard fresh: fetches it anew every few seconds and replaces the parts that changed.
(() => {
  const root = document.getElementById("hub-live");
  const status = document.getElementById("hub-refreshed");
  const told = new Map(); // what the server last said a part is; the page's own scripts may change it since
  let refreshedAt = Date.now();
  let trouble = "";

  const parts = (node) => [...node.querySelectorAll("[data-part]")];
  const keys = (node) => parts(node).map((part) => part.dataset.part).join();
  const remember = (node) => parts(node).forEach((part) => told.set(part.dataset.part, part.innerHTML));

  function span(seconds) {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    }
    return `${Math.max(0, Math.round(seconds))} s`;
  }

  function replacePart(old, fresh) {
    const held = old.contains(document.activeElement) ? document.activeElement : null;
    const place = held ? [...old.querySelectorAll("a, button, pre")].indexOf(held) : -1;
    old.innerHTML = fresh.innerHTML;
    if (place >= 0) old.querySelectorAll("a, button, pre")[place]?.focus();
  }

  // The theme's charts have one grey for both themes, too pale for either.
  function paint() {
    const colour = getComputedStyle(status).color;
    for (const canvas of root.querySelectorAll("canvas")) {
      const chart = window.Chart?.getChart(canvas);
      if (!chart) continue;
      for (const scale of Object.values(chart.options.scales)) scale.ticks.color = colour;
      chart.update();
    }
  }

  function updateChart(canvas, fresh) {
    const chart = window.Chart?.getChart(canvas);
    if (!chart || canvas.dataset.value === fresh.dataset.value) return;
    canvas.dataset.value = fresh.dataset.value;
    const data = JSON.parse(fresh.dataset.value);
    chart.data.labels = data.labels;
    data.datasets.forEach((set, index) => { chart.data.datasets[index].data = set.data; });
    chart.update();
  }

  function replaceAll(fresh) {
    root.querySelectorAll("canvas").forEach((canvas) => window.Chart?.getChart(canvas)?.destroy());
    root.replaceChildren(...fresh.childNodes);
    renderCharts(); // the admin theme's own
    paint();
  }

  function show(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    if (keys(fresh) !== keys(root)) {
      remember(fresh);
      replaceAll(fresh);
      return;
    }
    const byKey = new Map(parts(root).map((part) => [part.dataset.part, part]));
    for (const part of parts(fresh)) {
      const key = part.dataset.part;
      if (told.get(key) !== part.innerHTML) replacePart(byKey.get(key), part);
    }
    remember(fresh);
    for (const box of fresh.querySelectorAll("[data-chart]")) {
      const ours = root.querySelector(`[data-chart="${box.dataset.chart}"]`);
      ours.setAttribute("aria-label", box.getAttribute("aria-label"));
      updateChart(ours.querySelector("canvas"), box.querySelector("canvas"));
    }
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(root.dataset.url, { signal: AbortSignal.timeout(10000), redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 403) {
        trouble = "you are signed out; reload the page to sign in";
      } else if (!response.ok) {
        trouble = `the hub answers ${response.status}`;
      } else {
        show(await response.text());
        refreshedAt = Date.now();
        trouble = "";
      }
    } catch {
      trouble = "the hub does not answer";
    }
    tell();
  }

  function tell() {
    const age = span((Date.now() - refreshedAt) / 1000);
    status.classList.toggle("hub-stale", Boolean(trouble));
    status.setAttribute("aria-live", trouble ? "polite" : "off");
    status.querySelector("[data-text]").textContent = trouble
      ? `Cannot refresh: ${trouble}. What you see is ${age} old.`
      : `Refreshed ${age} ago`;
    for (const time of root.querySelectorAll("time[data-ago]")) {
      time.textContent = `${span((Date.now() - Date.parse(time.dateTime)) / 1000)} ago`;
    }
  }

  remember(root);
  tell();
  addEventListener("load", paint); // after the theme's own listener, which draws the charts
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["class"] });
  setInterval(tell, 1000);
  const turn = async () => { await refresh(); setTimeout(turn, Number(root.dataset.every)); };
  setTimeout(turn, Number(root.dataset.every));
  document.addEventListener("visibilitychange", refresh);
})();
