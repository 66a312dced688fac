/**
 * What comes too late: an answer, or an observation.
 *
 * In:      an answer that may come, and how long it may take.
 * Out:     the answer.
 * Refuses: one that has not come in time (ServerUnreachable).
 */

import { RlwayError, ServerUnreachable } from "../contract/errors.js";

/** An observation that was too old before the server was asked. */
export class StaleObservation extends RlwayError {}

/**
 * The answer, if it comes in time. The remote policy ends its own work by its own timer.
 * @template T
 * @param {number} ms
 * @param {Promise<T>} answer
 * @returns {Promise<T>}
 */
export function within(ms, answer) {
  /** @type {any} */
  let timer;
  const late = new Promise((_, reject) => {
    const sentence = `the server: no answer within ${Number((ms / 1000).toPrecision(3))} s.`;
    timer = setTimeout(() => reject(new ServerUnreachable(sentence)), ms);
  });
  return Promise.race([answer, /** @type {Promise<never>} */ (late)]).finally(() => clearTimeout(timer));
}
