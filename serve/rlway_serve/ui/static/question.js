/**
 * The form of an act request.
 *
 * In:      the description of a version.
 * Out:     fields for the observation and for how to act; the request's body.
 * Refuses: a field without a value (Error, with the field's name).
 */

import { choice, element, labelled } from "./element.js";
import { field } from "./field.js";
import { grown, isContinuous, isDiscrete } from "./spec.js";

/** @typedef {import("./spec.js").Manifest} Manifest */

const WAYS = /** @type {Record<string, string>} */ ({
  epsilon: "ε: the probability of a random action",
  temperature: "how evenly the action is sampled; 0 is greedy",
  sigma: "σ: how far from the mean the action is sampled, 1 as in the training",
});
const NEUTRAL = /** @type {Record<string, string>} */ ({ reward: "0", discount: "1", step_type: "1" });

export class Question {
  /** @type {Map<number, string>} */
  #episodes = new Map(); // by version

  /** @param {{manifest: Manifest, guard: any}} described @param {() => void} onChange */
  constructor({ manifest, guard }, onChange) {
    this.manifest = manifest;
    this.fields = manifest.observation.map((spec) => field(manifest, spec, onChange));
    this.times = (manifest.time_step ?? []).map(({ name }) => ({
      name,
      input: element("input", { type: "number", step: "any", value: NEUTRAL[name], oninput: onChange }),
    }));
    this.keepsEpisodes = Boolean(manifest.state?.length || guard);
    this.seed = element("input", { type: "number", step: 1, min: 0, placeholder: "none", oninput: onChange });
    this.amount = element("input", {
      type: "number",
      step: "any",
      min: 0,
      value: "1",
      disabled: true,
      oninput: onChange,
    });
    this.again = element("input", { type: "checkbox", checked: true });
    const ways = waysOf(manifest);
    const hint = element("span", { className: "note" }, ways.length ? "" : "The policy was exported without noise.");
    this.way = choice(
      [
        ["", manifest.explore ? "as exported" : "greedy"],
        ...ways.map((way) => /** @type {[string, string]} */ ([way, way])),
      ],
      "",
      (way) => {
        this.amount.disabled = !way;
        this.amount.value = way === "epsilon" ? "0.1" : "1";
        hint.textContent = WAYS[way] ?? "";
        onChange();
      },
    );
    this.way.disabled = !ways.length;
    this.hint = hint;
  }

  /** The fields of the observation, and of the time step if the policy reads it. */
  get observation() {
    const times = this.times.map(({ name, input }) => labelled(name.replace("_", " "), input));
    return [
      ...this.fields.map(({ node }) => node),
      times.length
        ? element("fieldset", {}, element("legend", {}, "Time step"), element("div", { className: "row" }, times))
        : null,
    ];
  }

  get howToAct() {
    return element(
      "fieldset",
      {},
      element("legend", {}, "How to act"),
      element(
        "div",
        { className: "row" },
        labelled("Explore", this.way),
        labelled("by", this.amount),
        labelled("Seed", this.seed),
      ),
      this.hint,
      this.keepsEpisodes && element("label", { className: "control" }, this.again, "each question begins an episode"),
    );
  }

  /** @param {"neutral" | "random"} how */
  set(how) {
    for (const { set } of this.fields) set(how);
  }

  /**
   * @param {number} version
   * @param {Manifest} manifest of that version, which says which outputs it has
   */
  body(version, manifest) {
    const values = this.fields.map(({ read }) => read());
    const way = this.way.value;
    const isNew = !this.#episodes.has(version);
    if (isNew) this.#episodes.set(version, `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`);
    const episode = { episode: this.#episodes.get(version), first: this.again.checked || isNew };
    const outputs = (manifest.outputs ?? []).map(({ name }) => name);
    return JSON.stringify({
      observation: grown(this.manifest.observation, values),
      version,
      ...(outputs.length ? { outputs } : {}),
      ...(way ? { explore: { [way]: numberOf(this.amount, "by") } } : {}),
      ...(this.seed.value ? { seed: Math.trunc(numberOf(this.seed, "Seed")) } : {}),
      ...(this.times.length
        ? { time_step: Object.fromEntries(this.times.map(({ name, input }) => [name, numberOf(input, name)])) }
        : {}),
      ...(this.keepsEpisodes ? episode : {}),
    });
  }
}

/** @param {HTMLInputElement} input @param {string} name */
function numberOf(input, name) {
  if (!Number.isFinite(input.valueAsNumber)) throw new Error(`${name}: expected a number.`);
  return input.valueAsNumber;
}

/** @param {Manifest} manifest */
function waysOf(manifest) {
  if (!manifest.noise) return [];
  if (isDiscrete(manifest)) return ["epsilon", "temperature"];
  return isContinuous(manifest) ? ["sigma"] : ["temperature", "sigma"];
}
