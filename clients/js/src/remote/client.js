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
import { readJson, readReply, writeAct } from "./messages.js";
import { rawRows, readRaw } from "./raw.js";
import { RemotePolicy } from "./remote_policy.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/policy.js").Reply} Reply */

const OCTETS = "application/octet-stream";

/** Asks one policy. Several requests may be under way, but within an episode only one. */
export class PolicyClient extends RemotePolicy {
  #path;
  #episode;
  #begun = 1; // ids of episodes so far
  #first = true;
  #resets = 0;
  #isUncertain = false; // whether the server made the last step, or will
  #rawWorks = true; // until an answer has lost its header on the way

  /**
   * A policy with state, or with a guard that limits changes, needs an `episode`, an id that no other client uses; `reset`
   * begins the next one. Throws UsageError if `url` is not http://HOST:PORT or https://HOST:PORT.
   * @param {string} url
   * @param {string | null} [policy] by default the server's default policy
   * @param {import("./remote_policy.js").ConnectionOptions & {episode?: string}} [options]
   */
  constructor(url, policy = null, { episode, ...options } = {}) {
    super(url, policy, options);
    this.#path = policy === null ? "/act" : `/v1/policies/${encodeURIComponent(policy)}/act`;
    this.#episode = episode;
  }

  /**
   * The whole reply, for one observation or, if `batched`, for several.
   * @param {import("../contract/nesting.js").Observation} observations
   * @param {import("./remote_policy.js").RequestOptions} [options]
   * @returns {Promise<Reply>}
   */
  async ask(observations, { batched = false, timeoutMs = this.timeoutMs, ...options } = {}) {
    const deadline = new Deadline(timeoutMs);
    const episode = this.#begun > 1 ? `${this.#episode}~${this.#begun}` : this.#episode;
    const given = this.#episode === undefined ? options : { episode, first: this.#first, ...options };
    const resets = this.#resets;
    const manifest = await this.description.know(deadline);
    const isPlain = this.#rawWorks && Object.values(given).every((value) => value === undefined);
    const rows = isPlain ? rawRows(observations, batched, manifest) : null;
    const reply = rows && (await this.#askRaw(rows, batched, manifest, deadline));
    if (reply) return reply;
    const body = writeAct(observations, batched, manifest, given);
    // A step of an episode may have been made though its answer was lost. A second one would change the state again.
    const again = given.episode === undefined || Boolean(given.first);
    this.#isUncertain = true;
    try {
      const request = { body, mediaType: "application/json", again, deadline };
      const content = readJson(await this.address.exchange(this.#path, request));
      if (resets === this.#resets) {
        this.#first = false; // otherwise the next one begins an episode all the same
        this.#isUncertain = false;
      }
      return readReply(content, await this.description.knowFor(content?.version ?? null, deadline));
    } catch (/** @type {any} */ error) {
      if (resets === this.#resets && error.reported) this.#isUncertain = false;
      if (error instanceof SpecViolated) this.description.forget(); // the active version may observe something else
      throw error;
    }
  }

  /** The next action begins an episode. It has another id if a step of the last one may still arrive there. */
  reset() {
    this.#first = true;
    this.#resets += 1;
    if (this.#isUncertain) this.#begun += 1;
    this.#isUncertain = false;
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
    const answer = await this.address.exchange(this.#path, { body, mediaType: OCTETS, deadline });
    if (answer.status >= 400) {
      this.description.forget();
      readJson(answer);
    }
    const version = Number(answer.headers.get("rlway-version"));
    if (version === manifest.version) {
      const guarded = JSON.parse(answer.headers.get("rlway-guarded") ?? "{}"); // of several rows together
      return { action: readRaw(answer.body, batched, manifest), version, outputs: {}, guarded };
    }
    if (version) await this.description.knowFor(version, deadline);
    else this.#rawWorks = false;
    return null;
  }
}
