/**
 * A policy on a server, over a WebSocket: many requests without HTTP headers, several of them under way.
 *
 * In:      observations, as JSON or, if asked for, as raw rows.
 * Out:     actions, in the order of the observations.
 * Refuses: ServerUnreachable when an answer takes longer than `timeoutMs`, and to all that wait when the connection
 *          ends; any error that the server reports, after which the connection goes on.
 *
 * A connection is an episode by itself, from its first observation or from the last `reset`. The next request after the
 * end of a connection opens another one. A policy whose steps depend on each other has lost its episode then, and asks
 * for a `reset` first.
 */

import { isBrowser } from "../common/browser.js";
import { Deadline } from "../common/deadline.js";
import { parseExact } from "../common/json.js";
import { ServerUnreachable, SpecViolated, UsageError, fromProblem } from "../contract/errors.js";
import { Connection } from "./connection.js";
import { readReply, writeAct } from "./messages.js";
import { rawRows, readRaw } from "./raw.js";
import { RemotePolicy } from "./remote_policy.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/policy.js").Reply} Reply */
/**
 * @typedef {object} StreamOptions
 * @property {boolean} [raw] whether typed arrays of the observation's dtype go as raw frames, whose answers do not say
 *   which version they are of
 * @property {any} [WebSocket] the class, where there is none built in; for Node 20, that of the package `ws`
 */

/** One connection to one policy, opened for the first request. */
export class PolicyStream extends RemotePolicy {
  #raw;
  #WebSocket;
  /** @type {Promise<Connection> | null} */
  #opening = null;
  #isBegun = false; // whether a step of the episode was sent

  /**
   * Throws UsageError if `url` is not http://HOST:PORT or https://HOST:PORT, or if there is no WebSocket here.
   * @param {string} url
   * @param {string | null} [policy] by default the server's default policy
   * @param {import("./remote_policy.js").ConnectionOptions & StreamOptions} [options]
   */
  constructor(url, policy = null, { raw = false, WebSocket = globalThis.WebSocket, ...options } = {}) {
    super(url, policy, options);
    if (!WebSocket) {
      throw new UsageError(
        "WebSocket: expected one built in, as browsers and Node 22 have, got none; pass that of `ws` as {WebSocket}.",
      );
    }
    if (options.key && isBrowser) {
      throw new UsageError("API key: a browser's WebSocket cannot send one; use PolicyClient.");
    }
    this.#raw = raw;
    this.#WebSocket = WebSocket;
  }

  /**
   * The whole reply, for one observation or, if `batched`, for several.
   * @param {import("../contract/nesting.js").Observation} observations
   * @param {import("./remote_policy.js").RequestOptions} [options]
   * @returns {Promise<Reply>}
   */
  async ask(observations, { batched = false, timeoutMs = this.timeoutMs, ...options } = {}) {
    const deadline = new Deadline(timeoutMs);
    this.#opening ??= this.#open(deadline);
    const connection = await this.#opening; // in the order of the calls, also once it is open
    const manifest = /** @type {Manifest} */ (this.manifest);
    if (this.needsEpisode && this.#isBegun && connection.isFresh) {
      const lost = "the stream broke within an episode, which the server has lost; call reset() to begin the next one";
      throw new ServerUnreachable(`${this.address}: ${lost}.`);
    }
    const first = this.needsEpisode && !this.#isBegun && !connection.isFresh;
    const isPlain = this.#raw && !first && Object.values(options).every((value) => value === undefined);
    const rows = isPlain ? rawRows(observations, batched, manifest) : null;
    const frame = rows ?? writeAct(observations, batched, manifest, { first, ...options });
    try {
      const answer = connection.exchange(frame, deadline);
      if (!connection.isFresh) this.#isBegun = true;
      const data = await answer;
      if (data instanceof ArrayBuffer) {
        return { action: readRaw(data, batched, manifest), version: null, outputs: {}, guarded: null };
      }
      const content = parseExact(data);
      if (content?.status >= 400) throw fromProblem(content.status, content);
      return readReply(content, await this.description.knowFor(content?.version ?? null, deadline));
    } catch (error) {
      if (first) this.#isBegun = false; // the server has not begun the episode
      if (error instanceof SpecViolated) await this.description.ask(deadline).catch(() => {}); // it may have changed
      throw error;
    }
  }

  /** The next action begins an episode. */
  reset() {
    this.#isBegun = false;
  }

  /** Ends the connection, and its episode. Requests that wait are rejected. */
  async close() {
    const opening = this.#opening;
    this.#opening = null;
    this.#isBegun = false;
    await opening?.then((connection) => connection.close()).catch(() => {});
  }

  /**
   * @param {Deadline} deadline
   * @returns {Promise<Connection>}
   */
  #open(deadline) {
    const opening = this.description.know(deadline).then(({ policy }) => {
      const path = `/v1/policies/${encodeURIComponent(policy)}/stream`;
      return Connection.open(this.#WebSocket, this.address, path, deadline);
    });
    const forget = () => {
      if (this.#opening === opening) this.#opening = null;
    };
    opening.then((connection) => connection.ended).then(forget, forget);
    return opening;
  }
}
