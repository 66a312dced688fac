/**
 * Plays a world with a served policy, one step for each answer.
 *
 * In:      the world; the policy, by a WebSocket, or by HTTP where a key is needed, which a browser's WebSocket cannot
 *          send.
 * Out:     counts, after each step.
 * Refuses: what the server refuses; the play then pauses.
 */

import { BASE } from "./address.js";
import { PolicyClient } from "./client/remote/client.js";
import { PolicyStream } from "./client/remote/stream.js";
import { key } from "./key.js";

/** @typedef {import("./stage.js").World} World */

const RATE_S = 1; // the time over which actions are counted
const MOST_ROUNDS = 101; // of which the median is shown

export class Player {
  steps = 0; // of this episode
  total = 0; // of all episodes
  episodes = 0; // that have ended
  reward = 0;
  /** @type {number[]} */
  #times_ms = []; // of the last answers
  /** @type {number[]} */
  #rounds_ms = []; // how long each of the last answers took
  #runs = 0; // how often it was started: an older loop ends
  #resets = 0; // an answer that was asked for in another episode is dropped
  #pending = /** @type {Promise<void> | null} */ (null); // the step that is under way

  /**
   * @param {World} world
   * @param {{manifest: import("./spec.js").Manifest, guard: any}} described
   * @param {(error: unknown) => void} onFault
   */
  constructor(world, { manifest, guard }, onFault) {
    const url = BASE.href.replace(/\/$/, "");
    const keepsEpisodes = Boolean(manifest.state?.length || guard);
    const episode = keepsEpisodes ? `page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}` : undefined;
    this.world = world;
    this.version = manifest.version;
    this.wire = key() ? "HTTP, since a browser's WebSocket sends no key" : "WebSocket";
    this.policy = key()
      ? new PolicyClient(url, manifest.policy, { key: key(), episode })
      : new PolicyStream(url, manifest.policy);
    this.playing = false;
    this.speed = 1; // times real time; Infinity: as fast as the server answers
    this.explore = /** @type {Record<string, number> | undefined} */ (undefined);
    this.onFault = onFault;
  }

  /** Answers per second. */
  get rate() {
    const since = performance.now() - 1000 * RATE_S;
    return this.#times_ms.filter((time) => time > since).length / RATE_S;
  }

  /** From question to answer, milliseconds: the median of the last answers. */
  get round_ms() {
    return [...this.#rounds_ms].sort((a, b) => a - b)[this.#rounds_ms.length >> 1] ?? 0;
  }

  async play() {
    this.playing = true;
    const run = (this.#runs += 1);
    const step_ms = 1000 * /** @type {any} */ (this.world.constructor).step_s;
    let due_ms = performance.now();
    try {
      while (this.playing && run === this.#runs) {
        await this.step();
        due_ms = Math.max(due_ms + step_ms / this.speed, performance.now() - 250);
        const wait_ms = due_ms - performance.now();
        if (this.speed < Infinity && wait_ms > 0) await new Promise((resolve) => setTimeout(resolve, wait_ms));
      }
    } catch (error) {
      if (run !== this.#runs) return;
      this.playing = false;
      this.onFault(error);
    }
  }

  pause() {
    this.playing = false;
  }

  /** One question, one answer, one step. While one is under way, no other begins. */
  step() {
    this.#pending ??= this.#step().finally(() => {
      this.#pending = null;
    });
    return this.#pending;
  }

  async #step() {
    const [asked_ms, resets] = [performance.now(), this.#resets];
    const { action } = await this.policy.ask(this.world.observation, { version: this.version, explore: this.explore });
    if (resets !== this.#resets) return;
    const now_ms = performance.now();
    this.#times_ms.push(now_ms);
    if (this.#times_ms.length > 4000) this.#times_ms.splice(0, 2000);
    this.#rounds_ms = [...this.#rounds_ms, now_ms - asked_ms].slice(-MOST_ROUNDS);
    const { reward, ended } = this.world.step(/** @type {any} */ (action));
    this.steps += 1;
    this.total += 1;
    this.reward += reward;
    if (ended) this.#end();
  }

  /** Ends the episode, and begins another. */
  reset() {
    this.#resets += 1;
    this.world.reset();
    this.policy.reset();
    this.steps = 0;
    this.reward = 0;
  }

  #end() {
    this.episodes += 1;
    this.reset();
  }

  close() {
    this.playing = false;
    this.#runs += 1;
    void this.policy.close();
  }
}
