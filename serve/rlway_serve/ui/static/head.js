/**
 * The head of a view that is about one policy: which one, and which version.
 *
 * In:      the view's name; what the URL asks for.
 * Out:     the head; the policy and its version that are shown. Without a policy, the head says so.
 */

import { askJson, listPolicies, policyPath } from "./address.js";
import { choice, element, labelled } from "./element.js";

/**
 * @param {string} title
 * @param {string} view
 * @param {import("./main.js").Asked} asked
 * @returns {Promise<{head: HTMLElement, policy: string | null, version: number, about: any}>}
 */
export async function policyHead(title, view, { policy, version, signal }) {
  const listing = await listPolicies(signal);
  const ready = listing.policies.filter((found) => found.version !== null);
  const name = policy ?? listing.default ?? ready[0]?.name ?? null;
  if (name === null) {
    const nothing = element(
      "p",
      { className: "note" },
      "No policy is served yet. The server watches its models folder.",
    );
    return { head: element("div", {}, element("h1", {}, title), nothing), policy: null, version: 0, about: null };
  }
  const about = await askJson(policyPath(name), { signal });
  const shown = about.versions.includes(version) ? version : about.version;
  const go = (/** @type {string} */ to) => (location.hash = `#/${view}/${to}`);
  const policies = choice(
    ready.map((found) => [found.name, found.name]),
    name,
    (chosen) => go(encodeURIComponent(chosen)),
  );
  const versions = choice(
    about.versions.map((/** @type {number} */ number) => [
      String(number),
      number === about.version ? `${number} (active)` : `${number}`,
    ]),
    String(shown),
    (chosen) => go(`${encodeURIComponent(name)}/${chosen}`),
  );
  const head = element(
    "div",
    { className: "head" },
    element("h1", {}, title),
    element("div", { className: "row" }, labelled("Policy", policies), labelled("Version", versions)),
  );
  return { head, policy: name, version: shown, about };
}
