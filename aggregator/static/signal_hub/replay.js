"use strict";
// Replays dead letters step by step, so that no request lasts long and everybody sees how far it is.
(() => {
  const form = document.getElementById("hub-replay");
  if (!form) return;
  const outcome = document.getElementById("hub-outcome");
  const progress = document.getElementById("hub-progress");
  const totals = { count: 0, recorded: 0, duplicates: 0, refused: 0, skipped: 0 };

  const words = () =>
    `${totals.count} of ${form.dataset.total} replayed: ${totals.recorded} recorded, ` +
    `${totals.duplicates} were on record, ${totals.refused} refused again, ${totals.skipped} skipped.`;

  async function step(after) {
    const body = new FormData(form);
    body.set("after", after);
    body.set("last", form.dataset.last);
    const response = await fetch(form.action, { method: "POST", body, redirect: "manual" });
    const told = await response.json().catch(() => ({ error: `the hub answers ${response.status}` }));
    if (!response.ok) throw new Error(told.error);
    for (const name of Object.keys(totals)) totals[name] += told[name];
    progress.value = totals.count;
    outcome.textContent = words();
    return told;
  }

  let after = 0;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      for (let finished = false; !finished;) {
        const told = await step(after);
        after = told.after;
        finished = told.finished;
      }
      outcome.textContent = `Done. ${words()}`;
    } catch (error) {
      button.disabled = false;
      outcome.textContent = `Stopped: ${error.message}. ${words()} Press Replay to go on.`;
    }
  });
})();
