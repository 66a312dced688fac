/**
 * The guard of a policy in this process: it remembers the action that was executed last, and when.
 *
 * In:      the outputs of one step, by name.
 * Out:     the outputs with the action that the guard lets through, and which rules the policy's action violated.
 * Refuses: ActionRefused, as the guard says; the step may then be repeated.
 */

import { applyGuard, nearestWithin } from "../contract/guarding.js";

/** @typedef {import("../contract/guard.js").Guard} Guard */
/** @typedef {import("../contract/guard.js").Violations} Violations */
/** @typedef {import("../contract/nesting.js").Rows} Rows */

/** The guard of one episode at a time. */
export class EdgeGuard {
  /** @type {Violations} */
  violated = {}; // by the last action
  /** @type {{rows: Rows, atS: number} | null} the action before; null where an episode begins */
  #last = null;

  /**
   * @param {Guard} guard
   * @param {() => number} clock tells the seconds that `change_per_second` counts
   */
  constructor(guard, clock) {
    /** @readonly */
    this.guard = guard;
    /** @readonly */
    this.clock = clock;
  }

  /** The next action begins an episode. */
  reset() {
    this.#last = null;
  }

  /**
   * The outputs with the action to use. Throws ActionRefused.
   * @param {Rows} outputs
   * @returns {Rows}
   */
  apply(outputs) {
    const [nowS, last] = [this.clock(), this.#last];
    const { rows, violated, refusal } = applyGuard(this.guard, outputs, last && last.rows, last ? nowS - last.atS : 0);
    this.violated = violated;
    if (refusal) throw refusal;
    const kept = this.guard.tensors.map(({ spec: { name } }) => [name, rows[name].slice()]); // the caller may change his
    this.#last = { rows: Object.fromEntries(kept), atS: nowS };
    return rows;
  }

  /**
   * This action was executed in place of the last one. It counts as its nearest within the limits of the range: the next
   * one has to be within them, too.
   * @param {Rows} rows
   * @param {number} atS
   */
  executed(rows, atS) {
    this.#last = { rows: nearestWithin(this.guard, rows), atS };
  }
}
