/**
 * What is served: a card for each policy.
 *
 * In:      `GET /v1/policies`, and the description of each.
 * Out:     the view.
 */

import { askJson, listPolicies, policyPath } from "./address.js";
import { element, fill } from "./element.js";
import { headline, shapes } from "./facts.js";
import { worldOf } from "./worlds.js";

/** @typedef {import("./address.js").Summary} Summary */

/** @type {import("./main.js").View} */
export async function show({ signal }) {
  const listing = await listPolicies(signal);
  const cards = listing.policies.map((policy) => card(policy, policy.name === listing.default, signal));
  const count = cards.length === 1 ? "1 policy" : `${cards.length} policies`;
  return element(
    "div",
    {},
    element("div", { className: "head" }, element("h1", {}, "Policies"), element("p", { className: "note" }, count)),
    cards.length
      ? element("ul", { className: "cards" }, cards)
      : element("p", { className: "note" }, "No policy is served yet. The server watches its models folder."),
  );
}

/**
 * @param {Summary} policy
 * @param {boolean} isDefault
 * @param {AbortSignal} signal
 */
function card(policy, isDefault, signal) {
  const { name, version, versions, labels } = policy;
  const path = `${encodeURIComponent(name)}/${version ?? ""}`;
  const facts = element("p", { className: "note" }, version === null ? "No version is loaded yet." : "…");
  const play = element("a", { className: "button", href: `#/episode/${path}`, hidden: true }, "Play", hidden(name));
  if (version !== null) void describe(name, facts, play, signal);
  const labelsOf = (/** @type {number} */ number) => Object.keys(labels).filter((label) => labels[label] === number);
  return element(
    "li",
    { className: "panel" },
    element("h2", {}, element("a", { href: `#/policy/${path}` }, name)),
    element(
      "p",
      {},
      versions
        .map((number) => {
          const words = [`v${number}`, number === version && "active", ...labelsOf(number)].filter(Boolean);
          return [element("span", { className: number === version ? "chip active" : "chip" }, words.join(" · ")), " "];
        })
        .flat(),
      isDefault && element("span", { className: "chip" }, "default"),
    ),
    facts,
    version !== null &&
      element(
        "div",
        { className: "row" },
        element("a", { className: "button", href: `#/playground/${path}` }, "Try it", hidden(name)),
        element("a", { className: "button", href: `#/live/${path}` }, "Watch", hidden(name)),
        play,
      ),
  );
}

/** @param {string} name for readers of links alone */
const hidden = (name) => element("span", { className: "unseen" }, ` ${name}`);

/**
 * @param {string} name
 * @param {HTMLElement} place
 * @param {HTMLElement} play shown where the policy plays a world of this page
 * @param {AbortSignal} signal
 */
async function describe(name, place, play, signal) {
  try {
    const { manifest } = await askJson(policyPath(name), { signal });
    place.replaceChildren();
    fill(place, headline(manifest), element("br"), element("code", {}, shapes(manifest)));
    play.hidden = worldOf(manifest) === null;
  } catch (error) {
    if (!signal.aborted) place.textContent = /** @type {Error} */ (error).message;
  }
}
