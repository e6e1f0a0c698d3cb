"use strict";
// Does long work step by step, so that no request lasts long and everybody sees how far it is.
(() => {
  const form = document.getElementById("hub-steps");
  if (!form) return;
  form.querySelector("fieldset").disabled = false;
  const outcome = document.getElementById("hub-outcome");
  const progress = document.getElementById("hub-progress");
  const totals = {};
  let done = 0;
  let after = form.dataset.after;

  function words() {
    const of = form.dataset.total ? ` of ${form.dataset.total}` : "";
    const parts = Object.entries(totals).map(([name, count]) => `${count} ${name}`);
    return `${done}${of} done: ${parts.join(", ") || "nothing"}.`;
  }

  async function step() {
    const body = new FormData(form);
    body.set("after", after);
    body.set("last", form.dataset.last);
    const response = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => {
      throw new Error("the hub cannot be reached");
    });
    if (response.type === "opaqueredirect") throw new Error("you are signed out");
    const told = await response.json().catch(() => ({ error: `the hub answers ${response.status}` }));
    if (!response.ok) throw new Error(told.error);
    done += told.count;
    for (const [name, count] of Object.entries(told.told)) totals[name] = (totals[name] || 0) + count;
    if (form.dataset.total) progress.value = done;
    outcome.textContent = words();
    after = told.after;
    return told.finished;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    progress.hidden = false;
    try {
      while (!(await step()));
      outcome.textContent = `Done. ${words()}`;
      if (!form.dataset.total) progress.hidden = true;
    } catch (error) {
      button.disabled = false;
      outcome.textContent = `Stopped: ${error.message}. ${words()} Press the button to go on.`;
    }
  });
})();
