/**
 * Runs a bundle's model.onnx in this process, in a browser or in Node: without a server.
 *
 * In:      one observation, as the environment gives it.
 * Out:     one action, as the environment takes it.
 * Refuses: a bundle whose file is missing, damaged, or not what its manifest describes (BundleInvalid); an observation
 *          that does not fit (SpecViolated); an action that the bundle's guard refuses (ActionRefused); a program without
 *          onnxruntime-web (RuntimeMissing).
 *
 *     const policy = await EdgePolicy.open("models/cartpole/1");
 *     const action = await policy.act(observation);
 */

import { BundleInvalid } from "../contract/errors.js";
import { checkExplore, drawNoise, seeded } from "../contract/exploration.js";
import { parseGuard } from "../contract/guard.js";
import { applyGuard, nearestWithin } from "../contract/guarding.js";
import { NEXT, RESET, interfaceOf, parseManifest } from "../contract/manifest.js";
import { namesOf } from "../contract/named_values.js";
import { grow, nestAction, readObservation } from "../contract/nesting.js";
import { readRow } from "../contract/specs.js";
import { readTimeStep } from "../contract/time_step.js";
import { EdgeGuard } from "./edge_guard.js";
import { isInFolder, readFile } from "./files.js";
import { Session, checkSum, importRuntime, zeros } from "./session.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/nesting.js").Rows} Rows */
/** @typedef {import("../contract/policy.js").ActOptions & {noise?: ArrayLike<number>}} EdgeOptions */
/** @typedef {import("../contract/guard.js").Violations} Violations */
/** @typedef {import("../contract/policy.js").Reply & {guarded: Violations}} EdgeReply */

const MANIFEST = "manifest.json";
const FILE = "model.onnx";
const GUARD = "guard.json";

/** One policy in one session, with the policy state of its episode. */
export class EdgePolicy {
  #session;
  #guard;
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
   * @param {EdgeGuard | null} guard
   */
  constructor(manifest, session, guard) {
    /** @readonly */
    this.manifest = manifest;
    this.#session = session;
    this.#guard = guard;
    this.#interface = interfaceOf(manifest);
    this.#tree = { observation: grow(manifest.observation), action: grow(this.#interface.actions) };
    this.#names = namesOf(manifest);
    this.reset();
  }

  /**
   * @param {string} bundle the path of models/<policy>/<version> (Node), or its URL
   * @param {object} [options]
   * @param {any} [options.ort] the module onnxruntime-web, or another one with its interface
   * @param {() => number} [options.clock] tells the seconds for which a guard limits changes
   * @returns {Promise<EdgePolicy>}
   */
  static async open(bundle, { ort, clock = () => performance.now() / 1e3 } = {}) {
    const folder = bundle.replace(/\/+$/, "");
    const text = (/** @type {Uint8Array} */ bytes) => new TextDecoder().decode(bytes);
    const manifest = parseManifest(text(await readFile(`${folder}/${MANIFEST}`)), `${folder}/${MANIFEST}`);
    const read = async (/** @type {string} */ file) => {
      const bytes = await readFile(`${folder}/${file}`);
      await checkSum(bytes, manifest.files[file], `${folder}/${file}`);
      return bytes;
    };
    let guard = null;
    if (Object.hasOwn(manifest.files, GUARD)) {
      const limits = parseGuard(text(await read(GUARD)), `${folder}/${GUARD}`, [manifest.action].flat());
      guard = new EdgeGuard(limits, clock);
    } else if (await isInFolder(`${folder}/${GUARD}`)) {
      const fault = "not in the manifest, so it would not apply; export the policy with --guard"; // who put it there?
      throw new BundleInvalid(`${folder}/${GUARD}: ${fault}.`);
    }
    const bytes = await read(FILE);
    const where = `${folder}/${FILE}`;
    const session = await Session.open(ort ?? (await importRuntime()), bytes, interfaceOf(manifest), where);
    return new EdgePolicy(manifest, session, guard);
  }

  /** The rules of the guard that the last action violated, by action tensor; empty if none, or without a guard. */
  get guarded() {
    return this.#guard?.violated ?? {};
  }

  /** Whether an action depends on the steps before it: by the policy's state, or by its guard. */
  get needsEpisode() {
    return this.manifest.state.length > 0 || Boolean(this.#guard?.guard.limitsChanges);
  }

  /**
   * The action. Without `explore`, what the manifest says: to act greedily, unless the policy was exported to be
   * sampled. `noise` gives the draws themselves, as the model takes them. Throws SpecViolated, and ActionRefused where
   * the bundle's guard does; the policy is then as before, and the step may be repeated.
   * @param {Observation} observation
   * @param {EdgeOptions} [options]
   * @returns {Promise<Action>}
   */
  async act(observation, options) {
    return (await this.ask(observation, options)).action;
  }

  /**
   * The action, with the rules of the guard that the policy's own one violated.
   * @param {Observation} observation
   * @param {EdgeOptions} [options]
   * @returns {Promise<EdgeReply>}
   */
  async ask(observation, options = {}) {
    const inputs = this.#read(observation, options); // now, since the caller may change the array afterwards
    const reply = this.#before.then(() => this.#step(inputs));
    this.#before = reply.catch(() => {});
    return reply;
  }

  /**
   * This action was executed in place of the last one: limits of changes count from it. Throws SpecViolated if it is none
   * of this policy.
   * @param {Action} action
   */
  executed(action) {
    const rows = readObservation(action, this.#tree.action, "action");
    const atS = this.#guard?.clock() ?? 0;
    this.#before = this.#before.then(() => this.#guard?.executed(rows, atS));
  }

  /**
   * Another policy's action, such as a server's, as the guard lets it through. Throws ActionRefused.
   * @param {Action} action
   * @param {Action | null} [before] the action that was executed `elapsedS` ago; null where an episode begins
   * @param {number} [elapsedS]
   * @returns {{action: Action, guarded: Violations}}
   */
  guard(action, before = null, elapsedS = 0) {
    if (!this.#guard) return { action, guarded: {} };
    const limits = this.#guard.guard;
    const read = (/** @type {Action} */ one) => readObservation(one, this.#tree.action, "action");
    const last = before === null ? null : nearestWithin(limits, read(before));
    const { rows, violated, refusal } = applyGuard(limits, read(action), last, elapsedS);
    if (refusal) throw refusal;
    return { action: nestAction(rows, this.#tree.action), guarded: violated };
  }

  /** The next action begins an episode: a policy with state starts from its initial state. */
  reset() {
    this.#before = this.#before.then(() => {
      this.#guard?.reset();
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
   * @param {EdgeOptions} options
   * @returns {Rows}
   */
  #read(observation, { explore, seed, timeStep = {}, noise }) {
    const { noise: noiseSpec, time_step } = this.manifest;
    const tree = this.#tree.observation;
    const rows = {
      ...readObservation(observation, tree, undefined, this.#names),
      ...readTimeStep(timeStep, time_step),
    };
    if (explore) checkExplore(explore, this.#interface.draws);
    const sampling = explore ?? this.manifest.explore;
    if (noiseSpec && noise) rows.noise = readRow(Array.from(noise), noiseSpec, "noise");
    else if (noiseSpec && sampling) {
      rows.noise = drawNoise(sampling, this.#interface.draws, seed === undefined ? Math.random : seeded(seed));
    } else if (noiseSpec) rows.noise = zeros(noiseSpec);
    return rows;
  }

  /** @param {Rows} inputs @returns {Promise<EdgeReply>} */
  async #step(inputs) {
    const outputs = await this.#session.run({ ...inputs, ...this.#state });
    const results = this.#guard ? this.#guard.apply(outputs) : outputs;
    for (const { name } of this.manifest.state) this.#state[name] = results[NEXT + name];
    if (this.manifest.state.length) this.#state[RESET.name] = Uint8Array.of(0);
    const action = nestAction(results, this.#tree.action);
    return { action, version: this.manifest.version, outputs: {}, guarded: this.guarded };
  }
}
