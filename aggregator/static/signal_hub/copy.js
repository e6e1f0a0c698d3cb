"use strict";
// Copies the text beside a button. Outside HTTPS and localhost browsers have no clipboard API: the text is then
// selected, to be copied with the keyboard.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const code = button.parentElement.querySelector("code");
  const word = button.querySelector("[data-word]");
  try {
    await navigator.clipboard.writeText(code.textContent);
    word.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    word.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { word.textContent = "Copy"; }, 3000);
});
