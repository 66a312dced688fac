/**
 * A policy on a server, over HTTP.
 *
 * In:      an observation.
 * Out:     an action.
 * Refuses: ServerUnreachable when the whole exchange takes longer than `timeoutMs`; any error that the server reports.
 *
 *     const policy = new PolicyClient("http://127.0.0.1:8080", "cartpole");
 *     const action = await policy.act(observation);
 */

import { Deadline } from "../common/deadline.js";
import { SpecViolated } from "../contract/errors.js";
import { Address } from "./address.js";
import { Description } from "./description.js";
import { readJson, readReply, writeAct } from "./messages.js";
import { rawRows, readRaw } from "./raw.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/policy.js").ActOptions} ActOptions */
/** @typedef {import("./messages.js").AskOptions} AskOptions */
/** @typedef {import("./messages.js").Reply} Reply */

const OCTETS = "application/octet-stream";

/** Asks one policy. Several requests may be under way, but within an episode only one. */
export class PolicyClient {
  #address;
  #description;
  #path;
  /** @type {string | undefined} */
  #episode;
  #first = true;
  #resets = 0;
  #rawWorks = true; // until an answer has lost its header on the way

  /**
   * A policy with state needs an `episode`, an id that no other client uses; `reset` begins the next one. Throws
   * UsageError if `url` is not http://HOST:PORT or https://HOST:PORT.
   * @param {string} url
   * @param {string | null} [policy] by default the server's default policy
   * @param {object} [options]
   * @param {string} [options.key]
   * @param {number} [options.timeoutMs] for the whole exchange of a request
   * @param {string} [options.episode]
   */
  constructor(url, policy = null, { key, timeoutMs = 5000, episode } = {}) {
    this.#address = new Address(url, key);
    this.#description = new Description(this.#address, policy);
    this.#path = policy === null ? "/act" : `/v1/policies/${encodeURIComponent(policy)}/act`;
    this.#episode = episode;
    this.timeoutMs = timeoutMs;
  }

  /** @returns {Manifest | null} what the server said of the policy; null before the first request */
  get manifest() {
    return this.#description.manifest;
  }

  /**
   * The action for one observation. Throws SpecViolated if the observation does not fit.
   * @param {Observation} observation
   * @param {ActOptions} [options]
   * @returns {Promise<Action>}
   */
  async act(observation, options) {
    return (await this.ask(observation, options)).action;
  }

  /**
   * The actions for several observations: an array of them or, if the policy observes one tensor, a typed array with
   * its rows one after the other.
   * @param {Observation} observations
   * @param {ActOptions} [options] a part of `timeStep` has a number for each row
   * @returns {Promise<Action[]>}
   */
  async actBatch(observations, options) {
    return (await this.ask(observations, { ...options, batched: true })).action;
  }

  /**
   * The whole reply, for one observation or, if `batched`, for several.
   * @param {Observation} observations
   * @param {AskOptions & {batched?: boolean, timeoutMs?: number}} [options]
   * @returns {Promise<Reply>}
   */
  async ask(observations, { batched = false, timeoutMs = this.timeoutMs, ...options } = {}) {
    const deadline = new Deadline(timeoutMs);
    const given = this.#episode === undefined ? options : { episode: this.#episode, first: this.#first, ...options };
    const resets = this.#resets;
    const manifest = await this.#description.know(deadline);
    const isPlain = this.#rawWorks && Object.values(given).every((value) => value === undefined);
    const rows = isPlain ? rawRows(observations, batched, manifest) : null;
    const reply = rows && (await this.#askRaw(rows, batched, manifest, deadline));
    if (reply) return reply;
    const body = writeAct(observations, batched, manifest, given);
    // A step of an episode may have been made though its answer was lost. A second one would change the state again.
    const again = given.episode === undefined || Boolean(given.first);
    try {
      const request = { body, mediaType: "application/json", again, deadline };
      const content = readJson(await this.#address.exchange(this.#path, request));
      if (resets === this.#resets) this.#first = false; // otherwise the next one begins an episode all the same
      return readReply(content, await this.#description.knowFor(content?.version ?? null, deadline));
    } catch (error) {
      if (error instanceof SpecViolated) this.#description.forget(); // the active version may observe something else
      throw error;
    }
  }

  /** The next action begins an episode. */
  reset() {
    this.#first = true;
    this.#resets += 1;
  }

  /**
   * The server's description of the policy: `manifest`, `versions`, measured latency and more.
   * @returns {Promise<import("./description.js").PolicyDescription>}
   */
  describe() {
    return this.#description.ask(new Deadline(this.timeoutMs));
  }

  /** For programs that treat all policies alike: connections belong to the browser or to Node, which close them. */
  async close() {}

  /**
   * The reply to raw rows; null if it must be asked for in JSON, since the version that answered may read them otherwise.
   * @param {import("../contract/specs.js").TypedArray} rows
   * @param {boolean} batched
   * @param {Manifest} manifest
   * @param {Deadline} deadline
   * @returns {Promise<Reply | null>}
   */
  async #askRaw(rows, batched, manifest, deadline) {
    const body = /** @type {BodyInit} */ (/** @type {unknown} */ (rows));
    const answer = await this.#address.exchange(this.#path, { body, mediaType: OCTETS, deadline });
    if (answer.status >= 400) {
      this.#description.forget();
      readJson(answer);
    }
    const version = Number(answer.headers.get("rlway-version"));
    if (version === manifest.version) return { action: readRaw(answer.body, batched, manifest), version, outputs: {} };
    if (version) await this.#description.knowFor(version, deadline);
    else this.#rawWorks = false;
    return null;
  }
}
