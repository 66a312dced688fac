/**
 * The parts of TF-Agents' time step that a policy may read besides the observation: reward, discount and step type.
 *
 * In:      the specs of those that a policy reads; what a caller gives of them, such as {reward: 1}.
 * Out:     one row of each that it reads; what the caller does not give is as within an episode.
 * Refuses: a part that the policy does not read, anything but a finite number of its type, and a step type that
 *          TF-Agents does not know (SpecViolated).
 */

import { SpecViolated } from "./errors.js";
import { describe, readRow } from "./specs.js";

/** @typedef {{reward?: number, discount?: number, step_type?: number}} TimeStep */

/** @type {Record<string, number>} */
const NEUTRAL = { reward: 0, discount: 1, step_type: 1 };
const LAST = 2; // step types are 0 (first), 1 (mid) and 2 (last)

/**
 * @param {TimeStep} given
 * @param {import("./specs.js").TensorSpec[]} specs
 * @returns {import("./nesting.js").Rows}
 */
export function readTimeStep(given, specs) {
  for (const [name, value] of Object.entries(given)) {
    const path = `time_step.${name}`;
    if (!specs.some((spec) => spec.name === name)) {
      const read = specs.map((spec) => spec.name).join(", ") || "nothing of the time step";
      throw new SpecViolated([{ path, expected: `nothing: the policy reads ${read}`, got: "it" }]);
    }
    if (name === "step_type" && Number.isInteger(value) && (value < 0 || value > LAST)) {
      throw new SpecViolated([{ path, expected: "0 (first), 1 (mid) or 2 (last)", got: describe(value) }]);
    }
  }
  /** @type {Record<string, any>} */
  const numbers = { ...NEUTRAL, ...given };
  return Object.fromEntries(
    specs.map((spec) => [spec.name, readRow(numbers[spec.name], spec, `time_step.${spec.name}`)]),
  );
}
