"use strict";
// Shows what the body would become by the mapping as it is typed.
const form = document.getElementById("hub-mapping");
const preview = document.getElementById("hub-preview");
const received = document.getElementById("hub-received");
let timer, request;

async function refresh() {
  request?.abort();
  request = new AbortController();
  try {
    const answer = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form), signal: request.signal });
    if (answer.ok && !answer.redirected) preview.innerHTML = await answer.text();
    else preview.textContent = "The hub does not answer. Reload the page.";
  } catch (error) {
    if (error.name !== "AbortError") preview.textContent = "The hub does not answer.";
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, 250);
});
received?.addEventListener("change", () => {
  const text = received.selectedOptions[0].dataset.text;
  if (text !== undefined) form.elements.body.value = text;
  refresh();
});
document.getElementById("hub-reset")?.addEventListener("click", () => {
  form.elements.mapping.value = document.getElementById("hub-preset").content.textContent;
  refresh();
});
