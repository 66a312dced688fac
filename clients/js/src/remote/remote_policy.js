/**
 * What `PolicyClient` and `PolicyStream` have in common: all but the way of a request.
 *
 * In:      an observation.
 * Out:     an action.
 * Refuses: what `ask` of the one or the other refuses.
 */

import { Deadline } from "../common/deadline.js";
import { Address } from "./address.js";
import { Description } from "./description.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/policy.js").ActOptions} ActOptions */

/**
 * @typedef {object} ConnectionOptions
 * @property {string} [key] for a server with keys; not of a `PolicyStream` in a browser, whose WebSocket sends none
 * @property {number} [timeoutMs] for the whole exchange of a request, or for opening a stream
 */
/** @typedef {import("./messages.js").AskOptions & {batched?: boolean, timeoutMs?: number}} RequestOptions */
/** @typedef {(observations: Observation, options?: RequestOptions) => Promise<import("../contract/policy.js").Reply>} Ask */

export class RemotePolicy {
  /**
   * Throws UsageError if `url` is not http://HOST:PORT or https://HOST:PORT.
   * @param {string} url
   * @param {string | null} policy by default the server's default policy
   * @param {ConnectionOptions} options
   */
  constructor(url, policy, { key, timeoutMs = 5000 }) {
    /** @protected @readonly */
    this.address = new Address(url, key);
    /** @protected @readonly */
    this.description = new Description(this.address, policy);
    this.timeoutMs = timeoutMs;
  }

  /** @returns {Manifest | null} what the server said of the policy; null before the first request */
  get manifest() {
    return this.description.manifest;
  }

  /** Whether requests have to be steps of an episode, as far as the server has said. */
  get needsEpisode() {
    return this.description.needsEpisode;
  }

  /**
   * The action for one observation. Throws SpecViolated if the observation does not fit.
   * @this {RemotePolicy & {ask: Ask}}
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
   * @this {RemotePolicy & {ask: Ask}}
   * @param {Observation} observations
   * @param {ActOptions} [options] a part of `timeStep` has a number for each row
   * @returns {Promise<Action[]>}
   */
  async actBatch(observations, options) {
    return (await this.ask(observations, { ...options, batched: true })).action;
  }

  /**
   * The server's description of the policy: `manifest`, `versions`, measured latency and more.
   * @returns {Promise<import("./description.js").PolicyDescription>}
   */
  describe() {
    return this.description.ask(new Deadline(this.timeoutMs));
  }
}
