/**
 * One version of a policy: facts, pictures, films, model card, manifest.
 *
 * In:      `GET /v1/policies/{policy}/versions/{version}`, and its files.
 * Out:     the view.
 */

import { ask, askBlob, askJson, policyPath } from "./address.js";
import { element, fault, fill } from "./element.js";
import { facts, headline, latency, parity, tensors } from "./facts.js";
import { markdown } from "./markdown.js";
import { worldOf } from "./worlds.js";

const CAPTIONS = /** @type {Record<string, string>} */ ({
  "learning_curve.png": "Mean return over the training",
  "training_curve.png": "The training",
  "q_values.png": "Q-values of each cell",
  "trained.mp4": "An episode of the trained policy",
  "random.mp4": "An episode of random actions",
});
const CARD = "README.md";

/** @type {import("./main.js").View} */
export async function show({ policy, version, signal }) {
  if (policy === null) throw new Error("No policy is named; the list has all of them.");
  const about = await askJson(policyPath(policy), { signal });
  const number = version ?? about.version;
  const path = `${policyPath(policy)}/versions/${number}`;
  const described = await askJson(path, { signal });
  const { manifest, files } = described;
  const shown = (/** @type {string} */ name) => figure(`${path}/files/${name}`, name, signal);
  return element(
    "div",
    { className: "stack" },
    element(
      "div",
      { className: "head" },
      element("h1", {}, `${policy}, version ${number}`),
      element(
        "div",
        { className: "row" },
        link("playground", policy, number, "Try it", "button main"),
        link("live", policy, number, "Watch", "button"),
        worldOf(manifest) && link("episode", policy, number, "Play", "button"),
      ),
    ),
    versions(policy, about, number),
    about.failed.map((/** @type {any} */ failed) =>
      fault(`Version ${failed.version} (${failed.reason}): ${failed.detail}`),
    ),
    about.labels_fault && fault(`labels.json: ${about.labels_fault}`),
    element(
      "div",
      { className: "columns" },
      panel("Facts", element("p", {}, headline(manifest), "."), facts(described)),
      element("div", { className: "stack" }, files.filter((/** @type {string} */ name) => name in CAPTIONS).map(shown)),
    ),
    panel("Inputs and outputs", tensors(manifest)),
    element(
      "div",
      { className: "columns" },
      manifest.parity?.length ? panel("Compared with its source", parity(manifest)) : null,
      panel("How long a run takes here", latency(described.latency_us)),
    ),
    files.includes(CARD) && unfolding("Model card", () => card(path, signal)),
    unfolding("Manifest", async () => element("pre", { tabIndex: 0 }, JSON.stringify(manifest, null, 2))),
  );
}

/** @param {string} view @param {string} policy @param {number} number @param {string} text @param {string} className */
const link = (view, policy, number, text, className) =>
  element("a", { className, href: `#/${view}/${encodeURIComponent(policy)}/${number}` }, text);

/** @param {string} policy @param {any} about @param {number} shown */
function versions(policy, about, shown) {
  const chips = about.versions.map((/** @type {number} */ number) => {
    const labels = Object.keys(about.labels).filter((label) => about.labels[label] === number);
    const words = [`v${number}`, number === about.version && "active", ...labels].filter(Boolean).join(" · ");
    const chip = link("policy", policy, number, words, number === about.version ? "chip active" : "chip");
    if (number === shown) chip.setAttribute("aria-current", "true");
    return chip;
  });
  return element("nav", { className: "row", "aria-label": "Versions" }, "Loaded versions:", chips);
}

/** @param {string} title @param {...import("./element.js").Child} children */
const panel = (title, ...children) => element("section", { className: "panel" }, element("h2", {}, title), children);

/**
 * A part that is asked for when it is unfolded.
 * @param {string} title
 * @param {() => Promise<Node>} load
 */
function unfolding(title, load) {
  const made = element("details", { className: "panel" }, element("summary", {}, title));
  const open = async () => fill(made, await load().catch(fault));
  made.addEventListener("toggle", open, { once: true });
  return made;
}

/** @param {string} path @param {AbortSignal} signal */
async function card(path, signal) {
  const text = await (await ask(`${path}/files/${CARD}`, { signal })).text();
  return markdown(text, (source, words) =>
    source in CAPTIONS ? figure(`${path}/files/${source}`, source, signal) : element("em", {}, words),
  );
}

/** @param {string} path @param {string} name @param {AbortSignal} signal */
function figure(path, name, signal) {
  const caption = CAPTIONS[name];
  const media = name.endsWith(".mp4")
    ? element("video", { controls: true, muted: true, loop: true, "aria-label": caption })
    : element("img", { alt: `${name} of the bundle` });
  const made = element("figure", {}, media, element("figcaption", {}, caption));
  askBlob(path, signal).then(
    (url) => (media.src = url),
    (error) => signal.aborted || made.replaceChildren(fault(error)),
  );
  return made;
}
