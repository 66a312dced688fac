/**
 * The tensors of a policy: what they are called, and between which bounds a reader may move them.
 *
 * In:      a manifest.
 * Out:     its elements by name, unit and bounds; observations nested as the policy takes them.
 */

/**
 * @typedef {object} Spec
 * @property {string} name
 * @property {number[]} shape
 * @property {string} dtype
 * @property {number | (number | null)[] | null} [minimum]
 * @property {number | (number | null)[] | null} [maximum]
 * @property {number | (number | null)[] | null} [lookup_minimum]
 * @property {number | (number | null)[] | null} [lookup_maximum]
 * @property {string[]} [path]
 */
/** @typedef {{name: string, minimum: number | number[], maximum: number | number[]}} Observed */
/**
 * @typedef {object} Manifest what the page reads of `manifest.json`
 * @property {string} policy
 * @property {number} version
 * @property {string | null} algorithm
 * @property {string | null} env
 * @property {Spec[]} observation
 * @property {Spec | Spec[]} action
 * @property {number[] | null} [action_values]
 * @property {number} [frame_stack]
 * @property {number | null} [max_episode_steps]
 * @property {any} [meaning]
 * @property {Spec | null} noise
 * @property {any} [explore]
 * @property {Spec[]} [time_step]
 * @property {Spec[]} [state]
 * @property {Spec[]} [outputs]
 * @property {any} [training]
 * @property {any[]} [parity]
 * @property {Observed[]} [observed]
 * @property {Record<string, string>} [files]
 */
/** @typedef {{low: number, high: number, step: number}} Range */

const HUGE = 1e6; // bounds beyond it are those of the number's type, not of the quantity
const UNBOUNDED = 5; // how far a slider goes where nothing says how far the values go

/** @param {Manifest} manifest @returns {Spec[]} */
export const actionsOf = (manifest) => [manifest.action].flat();

/** @param {Spec} spec */
export const sizeOf = (spec) => spec.shape.reduce((product, length) => product * length, 1);

/** @param {Spec} spec */
export const label = (spec) => spec.dtype + (spec.shape.length ? `[${spec.shape.join(", ")}]` : "");

/** @param {Spec} spec */
export const isWhole = (spec) => /^u?int/.test(spec.dtype);

/** @param {Manifest} manifest */
export const isDiscrete = (manifest) => actionsOf(manifest).every(isWhole);

/** @param {Manifest} manifest */
export const isContinuous = (manifest) => actionsOf(manifest).every((spec) => !isWhole(spec));

/**
 * The name and the unit of each element, in row-major order.
 * @param {Manifest} manifest
 * @param {Spec} spec
 * @returns {{name: string, unit: string}[]}
 */
export function elementNames(manifest, spec) {
  const meant = manifest.meaning?.tensors?.[spec.name] ?? {};
  const title = spec.path?.length ? spec.path.join(".") : spec.name;
  return Array.from({ length: sizeOf(spec) }, (_, i) => ({
    name: meant.names?.[i]?.replaceAll("_", " ") ?? (spec.shape.length ? `${title}[${i}]` : title),
    unit: (Array.isArray(meant.units) ? meant.units[i] : meant.units) ?? "",
  }));
}

/**
 * The name of each discrete action.
 * @param {Manifest} manifest
 * @param {Spec} spec
 * @param {number} value
 */
export function actionName(manifest, spec, value) {
  const first = boundAt(spec.minimum, 0) ?? 0;
  const named = manifest.meaning?.tensors?.[spec.name]?.choices?.[value - first];
  if (named) return named.replaceAll("_", " ");
  const stands = manifest.action_values?.[value - first];
  return stands === undefined ? String(value) : `${value} (${stands})`;
}

/** @param {number | (number | null)[] | null | undefined} bound @param {number} i @returns {number | null} */
const boundAt = (bound, i) => (Array.isArray(bound) ? bound[i] : bound) ?? null;

/**
 * How far a slider goes for one element: the bounds, else what the training saw.
 * @param {Manifest} manifest
 * @param {Spec} spec
 * @param {number} i
 * @returns {Range}
 */
export function rangeOf(manifest, spec, i) {
  const seen = manifest.observed?.find(({ name }) => name === spec.name);
  const pick = (/** @type {"minimum" | "maximum"} */ side, /** @type {number} */ otherwise) => {
    const looked = boundAt(spec[`lookup_${side}`], i);
    if (looked !== null) return looked;
    const bound = boundAt(spec[side], i);
    if (bound !== null && Math.abs(bound) < HUGE) return bound;
    const value = seen && boundAt(seen[side], i);
    return typeof value === "number" ? widened(value) : otherwise;
  };
  const low = pick("minimum", isUnsigned(spec) ? 0 : -UNBOUNDED);
  const high = pick("maximum", isUnsigned(spec) ? 255 : UNBOUNDED);
  const step = isWhole(spec) ? 1 : 10 ** Math.floor(Math.log10((high - low) / 200 || 1));
  return { low, high: high > low ? high : low + 1, step };
}

/** @param {Spec} spec */
const isUnsigned = (spec) => spec.dtype.startsWith("u");

/** @param {number} value a round number that is at least as far from zero */
function widened(value) {
  if (value === 0) return 0;
  const unit = 10 ** Math.floor(Math.log10(Math.abs(value)));
  return Number((Math.sign(value) * Math.ceil(Math.abs(value) / unit) * unit).toPrecision(6));
}

/**
 * The bounds of an action's element; null where it has none.
 * @param {Spec} spec
 * @param {number} i
 * @returns {[number, number] | null}
 */
export function boundsOf(spec, i) {
  const [low, high] = [boundAt(spec.minimum, i), boundAt(spec.maximum, i)];
  return low === null || high === null || Math.abs(low) > HUGE || Math.abs(high) > HUGE ? null : [low, high];
}

/**
 * Elements in row-major order, nested as the shape says.
 * @param {any[]} elements
 * @param {number[]} shape
 * @returns {any}
 */
export function nested(elements, shape) {
  let parts = elements;
  for (const length of shape.slice(1).reverse()) {
    parts = Array.from({ length: parts.length / length }, (_, i) => parts.slice(i * length, (i + 1) * length));
  }
  return shape.length ? parts : parts[0];
}

/**
 * The tensors' values as one observation.
 * @param {Spec[]} specs
 * @param {any[]} values nested, one for each tensor
 */
export function grown(specs, values) {
  if (!specs[0].path?.length) return values[0];
  /** @type {any} */
  const tree = {};
  specs.forEach((spec, i) => {
    const path = spec.path ?? [];
    let at = tree;
    for (const key of path.slice(0, -1)) at = at[key] ??= {};
    at[path[path.length - 1]] = values[i];
  });
  return tree;
}

/**
 * The part of an action that a tensor is.
 * @param {any} action
 * @param {Spec} spec
 */
export const partOf = (action, spec) => (spec.path ?? []).reduce((part, key) => part?.[key], action);

/**
 * How large and deep a tensor is as a picture; null if it is none.
 * @param {Spec} spec
 * @returns {{height: number, width: number, depth: number, first: boolean} | null} `first`: channels come before rows
 */
export function pictureOf({ shape, dtype }) {
  if (dtype === "bool" || /64$/.test(dtype)) return null;
  const [a, b, c = 1] = shape;
  if (shape.length === 2 && a >= 8 && b >= 8) return { height: a, width: b, depth: 1, first: false };
  if (shape.length !== 3) return null;
  if (a >= 8 && b >= 8 && c <= 16) return { height: a, width: b, depth: c, first: false };
  return a <= 16 && b >= 8 && c >= 8 ? { height: b, width: c, depth: a, first: true } : null;
}
