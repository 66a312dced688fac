/**
 * Runs a bundle's model.onnx in this process, in a browser or in Node: without a server.
 *
 * In:      one observation, as the environment gives it.
 * Out:     one action, as the environment takes it.
 * Refuses: a bundle whose file is missing, damaged, or not what its manifest describes (BundleInvalid); an observation
 *          that does not fit (SpecViolated); a program without onnxruntime-web (RuntimeMissing).
 *
 *     const policy = await EdgePolicy.open("models/cartpole/1");
 *     const action = await policy.act(observation);
 */

import { checkExplore, drawNoise, seeded } from "../contract/exploration.js";
import { NEXT, RESET, interfaceOf, parseManifest } from "../contract/manifest.js";
import { inOrder, namesOf } from "../contract/named_values.js";
import { grow, nestAction, readObservation } from "../contract/nesting.js";
import { readRow } from "../contract/specs.js";
import { readTimeStep } from "../contract/time_step.js";
import { readFile } from "./files.js";
import { Session, checkSum, importRuntime, zeros } from "./session.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/nesting.js").Rows} Rows */
/** @typedef {import("../contract/policy.js").ActOptions} ActOptions */

const MANIFEST = "manifest.json";
const FILE = "model.onnx";

/** One policy in one session, with the policy state of its episode. */
export class EdgePolicy {
  #session;
  #interface;
  #tree;
  #names;
  /** @type {Rows} */
  #state = {};
  /** @type {Promise<unknown>} the action before: a session runs one at a time, in the order of the calls */
  #before = Promise.resolve();

  /**
   * Use `EdgePolicy.open`.
   * @param {Manifest} manifest
   * @param {Session} session
   */
  constructor(manifest, session) {
    /** @readonly */
    this.manifest = manifest;
    this.#session = session;
    this.#interface = interfaceOf(manifest);
    this.#tree = { observation: grow(manifest.observation), action: grow(this.#interface.actions) };
    this.#names = namesOf(manifest);
    this.reset();
  }

  /**
   * @param {string} bundle the path of models/<policy>/<version> (Node), or its URL
   * @param {object} [options]
   * @param {any} [options.ort] the module onnxruntime-web, or another one with its interface
   * @returns {Promise<EdgePolicy>}
   */
  static async open(bundle, { ort } = {}) {
    const folder = bundle.replace(/\/+$/, "");
    const text = new TextDecoder().decode(await readFile(`${folder}/${MANIFEST}`));
    const manifest = parseManifest(text, `${folder}/${MANIFEST}`);
    const where = `${folder}/${FILE}`;
    const bytes = await readFile(where);
    await checkSum(bytes, manifest.files[FILE], where);
    const session = await Session.open(ort ?? (await importRuntime()), bytes, interfaceOf(manifest), where);
    return new EdgePolicy(manifest, session);
  }

  /**
   * The action. Without `explore`, what the manifest says: to act greedily, unless the policy was exported to be
   * sampled. `noise` gives the draws themselves, as the model takes them.
   * @param {Observation} observation
   * @param {ActOptions & {noise?: ArrayLike<number>}} [options]
   * @returns {Promise<Action>}
   */
  async act(observation, options = {}) {
    const inputs = this.#read(observation, options); // now, since the caller may change the array afterwards
    const action = this.#before.then(() => this.#step(inputs));
    this.#before = action.catch(() => {});
    return action;
  }

  /** The next action begins an episode: a policy with state starts from its initial state. */
  reset() {
    this.#before = this.#before.then(() => {
      for (const spec of this.manifest.state) this.#state[spec.name] = zeros(spec);
      if (this.manifest.state.length) this.#state[RESET.name] = Uint8Array.of(1);
    });
  }

  /** Frees the session's memory. */
  close() {
    return this.#before.then(() => this.#session.close());
  }

  /**
   * @param {Observation} observation
   * @param {ActOptions & {noise?: ArrayLike<number>}} options
   * @returns {Rows}
   */
  #read(observation, { explore, seed, timeStep = {}, noise }) {
    const { noise: noiseSpec, time_step } = this.manifest;
    const tree = this.#tree.observation;
    const seen = this.#names.size ? inOrder(observation, tree, this.#names) : observation;
    const rows = { ...readObservation(seen, tree), ...readTimeStep(timeStep, time_step) };
    if (explore) checkExplore(explore, this.#interface.draws);
    const sampling = explore ?? this.manifest.explore;
    if (noiseSpec && noise) rows.noise = readRow(Array.from(noise), noiseSpec, "noise");
    else if (noiseSpec && sampling) {
      rows.noise = drawNoise(sampling, this.#interface.draws, seed === undefined ? Math.random : seeded(seed));
    } else if (noiseSpec) rows.noise = zeros(noiseSpec);
    return rows;
  }

  /** @param {Rows} inputs */
  async #step(inputs) {
    const results = await this.#session.run({ ...inputs, ...this.#state });
    for (const { name } of this.manifest.state) this.#state[name] = results[NEXT + name];
    if (this.manifest.state.length) this.#state[RESET.name] = Uint8Array.of(0);
    return nestAction(results, this.#tree.action);
  }
}
