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
 * is that of the episode. Where steps depend on each other, by a policy state or by a guard that limits changes, a server
 * that has missed one begins an episode anew. Every step is a probe then, and the state is "server" again once that
 * episode holds the last 16 steps, or all since `reset`.
 *
 * The local guard knows which actions were executed. It also limits the change to the first ones of a server that is back,
 * whose own guard does not.
 */

import { ServerUnreachable, SpecViolated, UsageError } from "../contract/errors.js";
import { copyOf } from "../contract/nesting.js";
import { StaleObservation, within } from "./lateness.js";
import { Probation } from "./probation.js";
import { ServerEpisode } from "./server_episode.js";
import { checkAction, checkTensors } from "./tensors.js";

/** @typedef {import("../contract/nesting.js").Action} Action */
/** @typedef {import("../contract/nesting.js").Observation} Observation */
/** @typedef {import("../contract/policy.js").ActOptions} ActOptions */
/** @typedef {import("../contract/policy.js").PolicyLike} PolicyLike */
/** @typedef {import("../remote/messages.js").AskOptions} AskOptions */
/** @typedef {import("../contract/policy.js").Reply} Reply */
/** @typedef {import("../remote/client.js").PolicyClient | import("../remote/stream.js").PolicyStream} Remote */

/** @typedef {"server" | "local" | "hold" | "action"} Source */
/**
 * A reply, with who gave its action: the server, the local policy, the last action held, or the given action. `reason` is
 * why it was not the server; empty if it was.
 * @typedef {Reply & {source: Source, reason: string}} FallbackReply
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
  /** @type {{action: Action, atMs: number} | null} the last action of the episode, and when it was given */
  #last = null;
  /** @type {Source} what an action is that no policy gave */
  #heldAs;
  #withinMs;
  #probeMs;
  #onChange;
  #probation;
  #isProbing = false;
  #lastProbeMs = -Infinity;
  #episode = new ServerEpisode(false);
  #isBack = false; // whether the server's guard may not know the action before
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
    const episode = this.#episode;
    episode.steps += 1;
    const server = this.#state === "server" ? this.#askServer(observation, options, leftMs) : null;
    const probe = server ? null : this.#probe(observation, options);
    const local = this.#askLocal(observation, options); // begins now, so that its action is there by the deadline
    probe?.then((error) => error && this.#note(error, local));
    const { reply, error } = (await server) ?? {};
    if (error) await this.#note(error, local);
    /** @type {FallbackReply} */
    const given = reply
      ? { ...reply, source: "server", reason: "" }
      : this.#fallBack(await local, error?.message ?? this.#reason);
    this.counts[given.source] += 1;
    const kept = { action: copyOf(given.action), atMs: performance.now() };
    if (this.#heldAs === "hold") this.#held = kept;
    if (episode !== this.#episode) return given; // `reset` was called in between
    this.#last = kept;
    if (given.source !== "local") this.#local?.executed?.(given.action);
    return given;
  }

  /** The next action begins an episode. */
  reset() {
    this.#remote.reset();
    this.#local?.reset();
    this.#episode = new ServerEpisode(this.#isProbing); // whose answer belongs to the one before
    this.#last = null;
    this.#isBack = false;
    this.#tell();
  }

  /**
   * Compares the local policy with the server's. Throws UsageError if they take or give other tensors.
   * @returns {Promise<{server: number, local: number | null}>} their versions
   */
  async check() {
    const { manifest: remote } = await this.#remote.describe();
    const local = this.#local?.manifest;
    if (local) checkTensors(local, remote);
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
      const reply = await within(leftMs, this.#remote.ask(observation, { ...options, timeoutMs: leftMs }));
      return { reply: this.#limited(reply) };
    } catch (error) {
      return { error };
    }
  }

  /**
   * The server's reply, as the local guard lets it through until that has nothing to limit any more.
   * @param {Reply} reply
   * @returns {Reply}
   */
  #limited(reply) {
    checkAction(reply, this.#local?.manifest);
    if (!this.#isBack || !this.#local?.guard) return reply;
    const [before, elapsedS] = this.#last
      ? [this.#last.action, (performance.now() - this.#last.atMs) / 1e3]
      : [null, 0];
    const limited = this.#local.guard(reply.action, before, elapsedS);
    this.#isBack = Object.keys(limited.guarded).length > 0;
    return this.#isBack ? { ...reply, ...limited } : reply;
  }

  /**
   * Asks the server in the background, if it is time.
   * @param {Observation} observation
   * @param {AskOptions} options
   * @returns {Promise<any>} why it was not answered in time; null if it was, or was not asked
   */
  async #probe(observation, options) {
    const [now, episode] = [performance.now(), this.#episode];
    const follows = this.#isInEpisodes && !episode.hasGap;
    if (this.#isProbing || (!follows && now - this.#lastProbeMs < this.#probeMs)) {
      episode.hasGap = true; // the next step cannot follow on this one
      return null;
    }
    if (episode.hasGap && this.#isInEpisodes) {
      this.#remote.reset();
      episode.begin();
    }
    this.#isProbing = true;
    this.#lastProbeMs = now;
    this.counts.probes += 1;
    const given = copyOf(observation); // the caller may change it as soon as it has the local action
    try {
      await within(this.#withinMs, this.#remote.ask(given, { ...options, timeoutMs: this.#withinMs }));
      this.counts.goodProbes += 1;
      episode.see();
      this.#probation.succeed(performance.now());
      this.#tell();
      return null;
    } catch (error) {
      return error;
    } finally {
      this.#isProbing = false;
    }
  }

  /**
   * Draws the conclusions from an answer that did not come.
   * @param {any} error
   * @param {Promise<Outcome | null>} local
   */
  async #note(error, local) {
    if (error instanceof SpecViolated) {
      const own = error.reported ? await local : null; // what was not even sent, the local policy refuses as well
      if (!own || own.error instanceof SpecViolated) return;
    }
    this.#reason = error.message;
    this.#episode.hasGap = true;
    if (!(error instanceof StaleObservation)) this.#probation.fail(performance.now());
    this.#tell();
  }

  /**
   * @param {Observation} observation
   * @param {ActOptions} options
   * @returns {Promise<Outcome | null>} null without a local policy
   */
  async #askLocal(observation, options) {
    const local = this.#local;
    if (!local) return null;
    try {
      if (local.ask) return { reply: await local.ask(observation, options) };
      const action = await local.act(observation, options);
      return { reply: { action, version: local.manifest?.version ?? null, outputs: {}, guarded: {} } };
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
    if (local?.reply) return { ...local.reply, source: "local", reason };
    if (!this.#held) {
      throw local?.error ?? new ServerUnreachable(`no action to hold yet, and none from the server: ${reason}`);
    }
    const { action } = this.#held;
    const why = local?.error?.message ?? reason;
    return { action, source: this.#heldAs, reason: why, version: null, outputs: {}, guarded: {} };
  }

  /** Whether an action depends on the steps before it, as far as it is known. */
  get #isInEpisodes() {
    return [this.#remote, this.#local].some((policy) => policy?.needsEpisode);
  }

  /** Follows the probation and the server's episode, and tells of a change. */
  #tell() {
    const isBehind = this.#state === "server" ? this.#episode.hasGap : !this.#episode.isWarm;
    const state = this.#probation.isTrusted && !(isBehind && this.#isInEpisodes) ? "server" : "local";
    if (state === this.#state) return;
    this.#state = state;
    this.#isBack = state === "server" && this.#last !== null;
    this.counts.changes += 1;
    const change = /** @type {Change} */ ({ state, reason: state === "server" ? "" : this.#reason });
    queueMicrotask(() => this.#onChange(change)); // which may throw, and the action is still given
  }
}
