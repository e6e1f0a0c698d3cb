"use strict";
// Refreshes the dashboard every few seconds, and replaces the parts that changed.
(() => {
  const root = document.getElementById("hub-live");
  const status = document.getElementById("hub-refreshed");
  const received = new Map(); // each part as the server sent it; scripts may have changed it on the page
  const FOCUSABLE = "a, button, pre, summary";
  let opened = matchMedia("(min-width: 1024px)").matches;
  let refreshedAt = Date.now();
  let trouble = "";

  const parts = (node) => [...node.querySelectorAll("[data-part]")];
  const keys = (node) => parts(node).map((part) => part.dataset.part).join();
  const remember = (node) => parts(node).forEach((part) => received.set(part.dataset.part, part.innerHTML));

  function span(seconds) {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    }
    return `${Math.max(0, Math.round(seconds))} s`;
  }

  function replacePart(old, fresh) {
    const held = old.contains(document.activeElement) ? document.activeElement : null;
    const place = held ? [...old.querySelectorAll(FOCUSABLE)].indexOf(held) : -1;
    old.innerHTML = fresh.innerHTML;
    if (place >= 0) old.querySelectorAll(FOCUSABLE)[place]?.focus();
    unfold();
  }

  // Several banners are collapsed into one line, except on a wide screen or after a click.
  function unfold() {
    const many = root.querySelector(".hub-many");
    if (many) many.open = opened;
  }

  // The theme's charts have one grey for light and dark, with too little contrast for both.
  function paint() {
    const colour = getComputedStyle(status).color;
    for (const canvas of root.querySelectorAll("canvas")) {
      const chart = window.Chart?.getChart(canvas);
      if (!chart) continue;
      for (const scale of Object.values(chart.options.scales)) scale.ticks.color = colour;
      chart.update();
    }
  }

  // Charts are updated in place: the theme keeps a list of those it created, and fails on one that was removed.
  function updateChart(box) {
    const ours = root.querySelector(`[data-chart="${box.dataset.chart}"]`);
    const [canvas, fresh] = [ours, box].map((each) => each.querySelector("canvas"));
    const chart = window.Chart?.getChart(canvas);
    ours.setAttribute("aria-label", box.getAttribute("aria-label"));
    if (chart && canvas.dataset.value !== fresh.dataset.value) {
      canvas.dataset.value = fresh.dataset.value;
      const data = JSON.parse(fresh.dataset.value);
      chart.data.labels = data.labels;
      data.datasets.forEach((set, index) => { chart.data.datasets[index].data = set.data; });
      chart.update();
    }
    return ours;
  }

  function replaceParts(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    const charts = [...fresh.querySelectorAll("[data-chart]")].map((box) => [box, updateChart(box)]);
    if (keys(fresh) === keys(root)) {
      const byKey = new Map(parts(root).map((part) => [part.dataset.part, part]));
      for (const part of parts(fresh)) {
        const key = part.dataset.part;
        if (received.get(key) !== part.innerHTML) replacePart(byKey.get(key), part);
      }
      remember(fresh);
    } else {
      remember(fresh);
      charts.forEach(([box, ours]) => box.replaceWith(ours));
      root.replaceChildren(...fresh.childNodes);
      unfold();
    }
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const response = await fetch(root.dataset.url, { signal: AbortSignal.timeout(10000), redirect: "manual" });
      if (response.type === "opaqueredirect" || response.status === 403) {
        trouble = "you are signed out. Reload the page to sign in";
      } else if (!response.ok) {
        trouble = response.status === 503 ? "the core database does not answer" : `the hub answered ${response.status}`;
      } else {
        replaceParts(await response.text());
        refreshedAt = Date.now();
        trouble = "";
      }
    } catch {
      trouble = "the hub does not answer";
    }
    showStatus();
  }

  function showStatus() {
    const age = span((Date.now() - refreshedAt) / 1000);
    status.classList.toggle("hub-stale", Boolean(trouble));
    status.setAttribute("aria-live", trouble ? "polite" : "off");
    status.querySelector("[data-text]").textContent = trouble
      ? `Cannot refresh: ${trouble}. Data is ${age} old.`
      : `Refreshed ${age} ago`;
    for (const time of root.querySelectorAll("time[data-ago]")) {
      time.textContent = `${span((Date.now() - Date.parse(time.dateTime)) / 1000)} ago`;
    }
  }

  remember(root);
  unfold();
  root.addEventListener("click", (event) => {
    const many = event.target.closest(".hub-many > summary")?.parentElement;
    if (many) opened = !many.open;
  });
  showStatus();
  addEventListener("load", paint); // after the theme's listener, which draws the charts
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["class"] });
  setInterval(showStatus, 1000);
  const repeat = async () => { await refresh(); setTimeout(repeat, Number(root.dataset.every)); };
  setTimeout(repeat, Number(root.dataset.every));
  document.addEventListener("visibilitychange", refresh);
})();
