/**
 * A policy that never lacks an action: the server's if it comes in time, else the local one.
 *
 * In:      an observation, and when it was taken.
 * Out:     a reply by the deadline, which says who answered and why.
 * Refuses: an observation that the local policy refuses as well, as long as there is no action to hold.
 *
 *     state "server"   The server is asked. An answer by the deadline is the reply. If it is late, or an error, the
 *                      local policy's action is, and the state becomes "local".
 *     state "local"    The local policy acts. The observation also goes to the server as a probe, at most one at a time
 *                      and every `probeMs`. After `probes` good ones in a row the state is "server" again; if that ends
 *                      within `settleMs`, twice as many are needed the next time, up to 64.
 *
 * The local policy takes every observation, in either state: its action is there by the deadline, and its policy state
 * is that of the episode. The server's state is not, once a step did not reach it or was not answered in time. A policy
 * with state therefore stays with the local policy until `reset`. From then on every step is a probe, until `probes`
 * good ones, or one bad one.
 */

import { RlwayError, ServerUnreachable, SpecViolated, UsageError } from "../contract/errors.js";
import { Probation } from "./probation.js";

/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/policy.js").ActOptions} ActOptions */
/** @typedef {import("../contract/policy.js").PolicyLike} PolicyLike */
/** @typedef {import("../remote/messages.js").AskOptions} AskOptions */
/** @typedef {import("../contract/policy.js").Reply} Reply */
/** @typedef {import("../remote/client.js").PolicyClient | import("../remote/stream.js").PolicyStream} Remote */

/** @typedef {"server" | "local" | "hold" | "action"} Source */
/**
 * @typedef {object} FallbackReply
 * @property {Action} action
 * @property {Source} source who answered: the server, the local policy, the last action held, or the given action
 * @property {string} reason why it was not the server; empty if it was
 * @property {number | null} version of the policy that answered; null if it is unknown
 * @property {Record<string, any>} outputs
 */
/** @typedef {{state: "server" | "local", reason: string}} Change */
/** @typedef {{reply: Reply, error?: undefined} | {reply?: undefined, error: any}} Outcome */

export class FallbackPolicy {
  /** Replies by source, and what else happened. */
  counts = { server: 0, local: 0, hold: 0, action: 0, changes: 0, probes: 0, goodProbes: 0 };
  #remote;
  /** @type {PolicyLike | null} */
  #local;
  /** @type {{action: Action} | null} the last action, or the one that was given */
  #held = null;
  /** @type {Source} what an action is that no policy gave */
  #heldAs;
  #withinMs;
  #probeMs;
  #onChange;
  #probation;
  #isProbing = false;
  #lastProbeMs = -Infinity;
  #isLost = false; // whether the server's policy state is not that of the episode
  /** @type {"server" | "local"} */
  #state = "server";
  #reason = ""; // of the last failure

  /**
   * @param {Remote} remote a `PolicyClient` or a `PolicyStream`
   * @param {PolicyLike | "hold" | Action} local a policy such as `EdgePolicy`; "hold", which repeats the last action; or
   *   an action
   * @param {object} options
   * @param {number} options.withinMs from when the observation was taken
   * @param {number} [options.probeMs]
   * @param {number} [options.probes]
   * @param {number} [options.settleMs]
   * @param {(change: Change) => void} [options.onChange] told of each change of the state
   */
  constructor(remote, local, { withinMs, probeMs = 100, probes = 3, settleMs = 10_000, onChange = () => {} }) {
    if (!(withinMs > 0)) throw new UsageError(`withinMs: expected milliseconds above 0, got ${withinMs}.`);
    this.#remote = remote;
    this.#local = typeof local?.act === "function" ? local : null;
    this.#heldAs = this.#local || local === "hold" ? "hold" : "action";
    if (this.#heldAs === "action") this.#held = { action: local };
    this.#withinMs = withinMs;
    this.#probeMs = probeMs;
    this.#onChange = onChange;
    this.#probation = new Probation(probes, settleMs);
  }

  /** @returns {"server" | "local"} who acts */
  get state() {
    return this.#state;
  }

  /**
   * The action for one observation.
   * @param {Observation} observation
   * @param {AskOptions & {takenMs?: number}} [options]
   * @returns {Promise<Action>}
   */
  async act(observation, options) {
    return (await this.ask(observation, options)).action;
  }

  /**
   * The action, and who gave it.
   * @param {Observation} observation
   * @param {AskOptions & {takenMs?: number}} [options] `takenMs`: when the observation was taken, by `performance.now()`
   * @returns {Promise<FallbackReply>}
   */
  async ask(observation, { takenMs = performance.now(), ...options } = {}) {
    const leftMs = takenMs + this.#withinMs - performance.now();
    const server = this.#state === "server" ? this.#askServer(observation, options, leftMs) : null;
    if (!server) this.#probe(observation, options);
    const local = this.#askLocal(observation, options); // begins now, so that its action is there by the deadline
    const { reply, error } = (await server) ?? {};
    if (reply) {
      if (this.#heldAs === "hold") this.#held = { action: reply.action };
      this.counts.server += 1;
      return { ...reply, source: "server", reason: "" };
    }
    return this.#fallBack(await local, error?.message ?? this.#reason);
  }

  /** The next action begins an episode. */
  reset() {
    this.#remote.reset();
    this.#local?.reset();
    this.#isLost = false;
    this.#tell();
  }

  /**
   * Compares the local policy with the server's. Throws UsageError if they take or give other tensors.
   * @returns {Promise<{server: number, local: number | null}>} their versions
   */
  async check() {
    const { manifest: remote } = await this.#remote.describe();
    const local = this.#local?.manifest;
    if (local) {
      const [mine, theirs] = [local, remote].map(({ policy, observation, action, state }) =>
        JSON.stringify([
          policy,
          ...[observation, action, state].map((specs) =>
            [specs].flat().map(({ name, shape, dtype, path }) => [name, shape, dtype, path]),
          ),
        ]),
      );
      if (mine !== theirs) {
        const [expected, got] = [`${remote.policy} v${remote.version}`, `${local.policy} v${local.version}`];
        throw new UsageError(
          `local policy: expected the tensors of ${expected} on the server, got others, of ${got}; open that bundle.`,
        );
      }
    }
    return { server: remote.version, local: local?.version ?? null };
  }

  /** Ends the connection to the server. The local policy stays open. */
  close() {
    return this.#remote.close();
  }

  /**
   * @param {Observation} observation
   * @param {AskOptions} options
   * @param {number} leftMs
   * @returns {Promise<Outcome>}
   */
  async #askServer(observation, options, leftMs) {
    try {
      if (leftMs <= 0) throw new StaleObservation(`the observation was more than ${this.#withinMs} ms old.`);
      return { reply: await within(leftMs, this.#remote.ask(observation, { ...options, timeoutMs: leftMs })) };
    } catch (/** @type {any} */ error) {
      this.#note(error);
      return { error };
    }
  }

  /**
   * Asks the server in the background, if it is time.
   * @param {Observation} observation
   * @param {AskOptions} options
   */
  #probe(observation, options) {
    const now = performance.now();
    if (this.#isStateful) {
      if (this.#isProbing) this.#isLost = true; // this step cannot follow on the one before
      if (this.#isLost) return;
    } else if (this.#isProbing || now - this.#lastProbeMs < this.#probeMs) return;
    this.#isProbing = true;
    this.#lastProbeMs = now;
    this.counts.probes += 1;
    const good = () => {
      this.counts.goodProbes += 1;
      this.#probation.succeed(performance.now());
      this.#tell();
    };
    within(this.#withinMs, this.#remote.ask(observation, { ...options, timeoutMs: this.#withinMs }))
      .then(good, (/** @type {any} */ error) => this.#note(error))
      .finally(() => (this.#isProbing = false));
  }

  /**
   * Draws the conclusions from an answer that did not come.
   * @param {any} error
   */
  #note(error) {
    if (error instanceof SpecViolated && !error.reported) return; // nothing was sent, and the local policy refuses it too
    this.#reason = error.message;
    this.#isLost = true;
    if (!(error instanceof StaleObservation)) this.#probation.fail(performance.now());
    this.#tell();
  }

  /**
   * @param {Observation} observation
   * @param {ActOptions} options
   * @returns {Promise<Outcome | null>} null without a local policy
   */
  async #askLocal(observation, options) {
    if (!this.#local) return null;
    try {
      const action = await this.#local.act(observation, options);
      return { reply: { action, version: this.#local.manifest?.version ?? null, outputs: {}, guarded: {} } };
    } catch (error) {
      return { error };
    }
  }

  /**
   * @param {Outcome | null} local
   * @param {string} reason why it was not the server
   * @returns {FallbackReply}
   */
  #fallBack(local, reason) {
    if (local?.reply) {
      this.#held = { action: local.reply.action };
      this.counts.local += 1;
      return { ...local.reply, source: "local", reason };
    }
    if (!this.#held) {
      throw local?.error ?? new ServerUnreachable(`no action to hold yet, and none from the server: ${reason}`);
    }
    this.counts[this.#heldAs] += 1;
    return {
      action: this.#held.action,
      source: this.#heldAs,
      reason: local?.error?.message ?? reason,
      version: null,
      outputs: {},
    };
  }

  /** Whether the policy keeps a state between steps, as far as it is known. */
  get #isStateful() {
    return [this.#remote, this.#local].some((policy) => policy?.manifest?.state.length);
  }

  /** Follows the probation, and tells of a change. */
  #tell() {
    const state = this.#probation.isTrusted && !(this.#isLost && this.#isStateful) ? "server" : "local";
    if (state === this.#state) return;
    this.#state = state;
    this.counts.changes += 1;
    const change = /** @type {Change} */ ({ state, reason: state === "server" ? "" : this.#reason });
    queueMicrotask(() => this.#onChange(change)); // which may throw, and the action is still given
  }
}

/**
 * The answer, if it comes in time. The remote policy ends its own work by its own timer.
 * @template T
 * @param {number} ms
 * @param {Promise<T>} answer
 * @returns {Promise<T>}
 */
function within(ms, answer) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => {
    const sentence = `the server: no answer within ${Number((ms / 1000).toPrecision(3))} s.`;
    timer = setTimeout(() => reject(new ServerUnreachable(sentence)), ms);
  });
  return Promise.race([answer, /** @type {Promise<never>} */ (late)]).finally(() => clearTimeout(timer));
}

/** An observation that was too old before the server was asked. */
class StaleObservation extends RlwayError {}
