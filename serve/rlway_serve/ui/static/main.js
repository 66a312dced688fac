/**
 * The page: which view is shown.
 *
 * In:      the part of the URL after `#`: /VIEW/POLICY/VERSION.
 * Out:     the view. The one before it is told to end by its signal.
 */

import { NO_ANSWER } from "./address.js";
import { fault } from "./element.js";
import { offerKey } from "./key.js";

/** @typedef {{policy: string | null, version: number | null, signal: AbortSignal}} Asked */
/** @typedef {(asked: Asked) => Promise<Node>} View */

/** @type {Record<string, {title: string, load: () => Promise<{show: View}>}>} */
const VIEWS = {
  policies: { title: "Policies", load: () => import("./policies.js") },
  policy: { title: "Policy", load: () => import("./version.js") },
  playground: { title: "Playground", load: () => import("./playground.js") },
  live: { title: "Live", load: () => import("./live.js") },
  episode: { title: "Episode", load: () => import("./episode.js") },
};
const content = /** @type {HTMLElement} */ (document.querySelector("#content"));
let leaving = new AbortController();

/** @param {boolean} [moved] whether the reader came from another view */
async function show(moved = true) {
  if (location.hash && !location.hash.startsWith("#/")) return; // a place within the view
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [, name = "policies", policy = "", version = ""] = location.hash.split("/");
  const view = VIEWS[name] ?? VIEWS.policies;
  for (const link of document.querySelectorAll("nav a")) {
    const isHere = link.getAttribute("href") === `#/${name === "policy" ? "policies" : name}`;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let shown;
  try {
    const chosen = policy ? decodeURIComponent(policy) : null;
    document.title = `${chosen ? `${chosen} · ` : ""}${view.title} · RLway`;
    const asked = { policy: chosen, version: Number(version) || null, signal };
    shown = await (await view.load().catch(gone)).show(asked);
  } catch (error) {
    shown = fault(error);
  }
  if (signal.aborted) return;
  content.replaceChildren(shown);
  if (moved) content.focus({ preventScroll: true });
}

/** @returns {never} says why a view's module could not be fetched */
function gone() {
  throw new Error(NO_ANSWER);
}

addEventListener("hashchange", () => show());
offerKey(/** @type {HTMLElement} */ (document.querySelector("#key")), () => show());
await show(false);
