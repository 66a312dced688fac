/**
 * The API key, which the reader types in. It stays in this tab, and goes to this server only.
 *
 * In:      a key from the dialog.
 * Out:     the key; the page is told when it changes.
 */

import { element } from "./element.js";

const PLACE = "rlway.key";
/** @type {HTMLDialogElement | null} */
let open = null;
let onChange = () => {};

export const key = () => sessionStorage.getItem(PLACE) ?? "";

/**
 * Makes a button open the dialog.
 * @param {HTMLElement} button
 * @param {() => void} changed
 */
export function offerKey(button, changed) {
  onChange = changed;
  button.addEventListener("click", () => wantKey());
}

/**
 * Asks for the key, unless it is being asked for.
 * @param {string} [why]
 */
export function wantKey(why) {
  if (open) return;
  const input = element("input", { id: "key-input", type: "password", autocomplete: "off", value: key() });
  const form = element(
    "form",
    { method: "dialog", className: "stack" },
    element("h2", {}, "API key"),
    why ? element("p", { className: "note" }, why) : null,
    element("label", { htmlFor: "key-input" }, "Key of this server; an admin key for the live numbers"),
    input,
    element("p", { className: "note" }, "It stays in this tab until the tab is closed."),
    element(
      "div",
      { className: "row" },
      element("button", { className: "main", value: "use" }, "Use it"),
      element("button", { value: "forget" }, "Forget it"),
      element("button", { type: "button", onclick: () => dialog.close("cancel") }, "Cancel"),
    ),
  );
  const dialog = element("dialog", { "aria-label": "API key" }, form);
  dialog.addEventListener("close", () => {
    const typed = dialog.returnValue === "use" ? input.value.trim() : "";
    if (dialog.returnValue === "use" && typed) sessionStorage.setItem(PLACE, typed);
    if (dialog.returnValue === "forget") sessionStorage.removeItem(PLACE);
    open = null;
    dialog.remove();
    if (["use", "forget"].includes(dialog.returnValue)) onChange();
  });
  document.body.append(dialog);
  open = dialog;
  dialog.showModal();
}
