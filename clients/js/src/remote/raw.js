/**
 * Rows and actions as raw little-endian numbers, which take a large observation to the server at next to no cost.
 *
 * In:      a typed array that holds one or several observations as the policy's one tensor; the octets of an answer.
 * Out:     the same array, if it can be sent as it is; actions.
 * Refuses: numbers that are not finite (SpecViolated).
 */

import { RlwayError } from "../contract/errors.js";
import { grow, nestAction } from "../contract/nesting.js";
import { DTYPES, isTyped, sizeOf } from "../contract/specs.js";
import { NO_POLICY_SERVER, firstNotFinite, notFinite } from "./messages.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {import("../contract/specs.js").TypedArray} TypedArray */

const IS_LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * The observations as octets; null if they are no typed array of the policy's one tensor.
 * @param {any} observations
 * @param {boolean} batched
 * @param {Manifest} manifest
 * @returns {TypedArray | null}
 */
export function rawRows(observations, batched, manifest) {
  const specs = [...manifest.observation, ...[manifest.action].flat()];
  const [spec] = specs;
  const isRaw = IS_LITTLE && manifest.observation.length === 1 && specs.every(({ dtype }) => dtype !== "float16");
  if (!isRaw || !isTyped(observations) || !(observations instanceof DTYPES[spec.dtype].array)) return null;
  const rows = observations.length / sizeOf(spec);
  if (batched ? !(Number.isInteger(rows) && rows > 0) : rows !== 1) return null;
  const bad = firstNotFinite(observations);
  if (bad >= 0) {
    const [row, element] = batched ? [Math.floor(bad / sizeOf(spec)), bad % sizeOf(spec)] : [null, bad];
    throw notFinite(observations[bad], row === null ? `observation[${element}]` : `observations[${row}][${element}]`);
  }
  return observations;
}

/**
 * The actions in a raw answer: one, or an array of them.
 * @param {ArrayBuffer} octets
 * @param {boolean} batched
 * @param {Manifest} manifest
 */
export function readRaw(octets, batched, manifest) {
  const specs = [manifest.action].flat();
  const tree = grow(specs);
  const rowBytes = specs.reduce((sum, spec) => sum + sizeOf(spec) * DTYPES[spec.dtype].array.BYTES_PER_ELEMENT, 0);
  const rows = octets.byteLength / rowBytes;
  if (batched ? !Number.isInteger(rows) : rows !== 1) throw new RlwayError(NO_POLICY_SERVER);
  let at = 0;
  const actions = Array.from({ length: rows }, () => {
    /** @type {import("../contract/nesting.js").Rows} */
    const action = {};
    for (const spec of specs) {
      const { array: Row } = DTYPES[spec.dtype];
      const end = at + sizeOf(spec) * Row.BYTES_PER_ELEMENT;
      action[spec.name] = new Row(octets.slice(at, end)); // a copy, since a part may begin at any octet
      at = end;
    }
    return nestAction(action, tree);
  });
  return batched ? actions : actions[0];
}
