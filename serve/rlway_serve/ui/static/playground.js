/**
 * A policy that a reader asks by hand: observation in, action out, one version beside another.
 *
 * In:      the descriptions of a policy and its versions; what the reader sets.
 * Out:     the view.
 */

import { askJson, policyPath } from "./address.js";
import { answerOf } from "./answer.js";
import { choice, element, fault, fill, labelled } from "./element.js";
import { policyHead } from "./head.js";
import { Question } from "./question.js";

const QUIET_MS = 80; // after the last change, before the policy is asked

/** @type {import("./main.js").View} */
export async function show(asked) {
  const { head, policy, version, about } = await policyHead("Playground", "playground", asked);
  if (policy === null) return head;
  const { signal } = asked;
  const describe = (/** @type {number} */ number) => askJson(`${policyPath(policy)}/versions/${number}`, { signal });
  const described = await describe(version);
  const question = new Question(described, later);
  const auto = element("input", { type: "checkbox", checked: true });
  const request = element("pre", { tabIndex: 0 });
  const results = element("div", { className: "stack", "aria-live": "polite" });
  let [timer, turn, beside] = [0, 0, 0];
  signal.addEventListener("abort", () => clearTimeout(timer));

  function later() {
    clearTimeout(timer);
    if (auto.checked) timer = window.setTimeout(askAll, QUIET_MS);
  }

  async function askAll() {
    const mine = (turn += 1);
    const numbers = beside ? [version, beside] : [version];
    const shown = await Promise.all(numbers.map(askOne));
    if (mine === turn && !signal.aborted) results.replaceChildren(...shown);
  }

  async function askOne(/** @type {number} */ number) {
    const made = element("section", { className: "panel", "aria-label": `Version ${number}` });
    fill(made, element("h2", {}, `Version ${number}`));
    try {
      const of = number === version ? described : await describe(number);
      const body = question.body(number, of.manifest);
      if (number === version) request.textContent = curl(policy ?? "", body);
      const began_ms = performance.now();
      const answer = await askJson(`${policyPath(policy ?? "")}/act`, { method: "POST", body, signal });
      fill(made, answerOf(answer, of.manifest, performance.now() - began_ms));
    } catch (error) {
      fill(made, fault(error));
    }
    return made;
  }

  const set = (/** @type {"neutral" | "random"} */ how) => {
    question.set(how);
    void askAll();
  };
  const others = about.versions.filter((/** @type {number} */ number) => number !== version);
  const besideChoice = choice(
    [["0", "no other version"], ...others.map((/** @type {number} */ number) => [String(number), `version ${number}`])],
    "0",
    (number) => {
      beside = Number(number);
      void askAll();
    },
  );
  besideChoice.disabled = !others.length;
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    void askAll();
  };
  void askAll();
  return element(
    "div",
    {},
    head,
    element(
      "div",
      { className: "columns" },
      element(
        "form",
        { className: "panel stack", onsubmit: submit, noValidate: true },
        element("h2", {}, "Observation"),
        question.observation,
        element(
          "div",
          { className: "row" },
          element("button", { className: "main" }, "Ask"),
          element("button", { type: "button", onclick: () => set("random") }, "Random"),
          element("button", { type: "button", onclick: () => set("neutral") }, "Zero"),
          element("label", { className: "control" }, auto, "ask at every change"),
        ),
        question.howToAct,
        labelled("Beside it", besideChoice),
      ),
      element(
        "div",
        { className: "stack" },
        results,
        element("details", { className: "panel" }, element("summary", {}, "The same with curl"), request),
      ),
    ),
  );
}

/** @param {string} policy @param {string} body */
function curl(policy, body) {
  const url = new URL(`../${policyPath(policy)}/act`, location.href).href;
  return `curl '${url}' -H 'content-type: application/json' -d '${body.replaceAll("'", "'\\''")}'`;
}
