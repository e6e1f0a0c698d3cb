"use strict";
// Adds the accessible names that some of the admin's fields lack.
addEventListener("load", () => window.django?.jQuery?.(() => { // after the other handlers of jQuery, which create the fields
  for (const field of document.querySelectorAll("select.select2-hidden-accessible")) {
    const label = document.querySelector(`label[for="${field.id}"]`);
    const box = field.parentElement.querySelector(".select2-selection");
    const value = box?.querySelector("[role=textbox]");
    if (!label || !value) continue;
    label.id ||= `${field.id}_label`;
    value.setAttribute("aria-labelledby", label.id);
    box.setAttribute("aria-labelledby", `${label.id} ${value.id}`);
  }
  for (const field of document.querySelectorAll("td :is(select, input:not([type=hidden]))")) {
    const cell = field.closest("td");
    const head = cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex];
    if (head && !field.labels.length && !field.ariaLabel) field.ariaLabel = head.textContent.trim();
  }
}));
