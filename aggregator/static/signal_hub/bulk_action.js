"use strict";
// Runs a bulk action step by step, so that no request lasts long and the page shows progress.
(() => {
  const form = document.getElementById("hub-bulk-action");
  if (!form) return;
  form.querySelector("fieldset").disabled = false;
  const outcome = document.getElementById("hub-outcome");
  const progress = document.getElementById("hub-progress");
  const totals = {};
  let done = 0;
  let cursor = form.dataset.cursor;

  const number = (count) => count.toLocaleString("en");
  const summary = () => Object.entries(totals).map(([name, count]) => `${number(count)} ${name}`).join(", ");
  const share = () => `${number(done)} of ${number(Number(form.dataset.total))}`;

  async function step() {
    const body = new FormData(form);
    body.set("cursor", cursor);
    const response = await fetch(location.href, { method: "POST", body, redirect: "manual" }).catch(() => {
      throw new Error("the hub cannot be reached");
    });
    if (response.type === "opaqueredirect") throw new Error("you are signed out");
    const result = await response.json().catch(() => ({ error: `the hub answered ${response.status}` }));
    if (!response.ok) throw new Error(result.error);
    done += result.count;
    for (const [name, count] of Object.entries(result.results)) totals[name] = (totals[name] || 0) + count;
    progress.value = done;
    outcome.textContent = `${share()} done: ${summary()}`;
    cursor = result.cursor;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    progress.hidden = false;
    try {
      while (cursor !== null) await step();
      outcome.textContent = `Done: ${summary()}`;
    } catch (error) {
      button.disabled = false;
      outcome.textContent = `Stopped after ${share()}: ${error.message}. Press the button to continue.`;
    }
  });
})();
