/**
 * Applies a guard to one action.
 *
 * In:      the action's tensors; the action before, and how long ago that was.
 * Out:     the action to use, the rules that are violated, and the error if the guard refuses the action.
 *
 * Arithmetic is in the tensor's dtype, and exact for whole numbers. docs/guard.md has the rules.
 */

import { ActionRefused } from "./errors.js";
import { REACTIONS, inWords } from "./guard.js";
import { DTYPES, isWhole } from "./specs.js";

/** @typedef {import("./guard.js").Guard} Guard */
/** @typedef {import("./guard.js").TensorLimits} TensorLimits */
/** @typedef {import("./guard.js").Violations} Violations */
/** @typedef {import("./nesting.js").Rows} Rows */
/** @typedef {import("./specs.js").TensorSpec} TensorSpec */

/**
 * @typedef {object} Guarded
 * @property {Rows} rows those that were given, if they violate no rule
 * @property {Violations} violated
 * @property {ActionRefused | null} refusal
 */
/**
 * The first element of a tensor that violates a rule, the limits that hold there, and its value.
 * @typedef {{spec: TensorSpec, rule: string, at: number, low: any, high: any, value: any}} Breach
 */

const RULES = ["non_finite", "out_of_range", "too_fast"];
const [LEAST, MOST] = [-(2n ** 63n), 2n ** 63n - 1n]; // of int64, beyond which whole numbers have no limit

/**
 * @param {Guard} guard
 * @param {Rows} rows
 * @param {Rows | null} before null where an episode begins
 * @param {number} elapsedS
 * @returns {Guarded}
 */
export function applyGuard({ tensors, reactions }, rows, before, elapsedS) {
  const seconds = elapsedS > 0 && elapsedS < Infinity ? elapsedS : 0;
  /** @type {Rows} */
  const clamped = {};
  /** @type {Breach[]} */
  const breaches = [];
  for (const limits of tensors) {
    const { name } = limits.spec;
    clamped[name] = clamp(limits, rows[name], before && before[name], seconds, breaches);
  }
  if (!breaches.length) return { rows, violated: {}, refusal: null };
  /** @type {Violations} */
  const violated = {};
  for (const { spec, rule } of breaches) (violated[spec.name] ??= []).push(rule);
  const strictest = REACTIONS[Math.max(...breaches.map(({ rule }) => REACTIONS.indexOf(reactions[rule])))];
  if (strictest === "refuse") {
    const breach = breaches.find(({ rule }) => reactions[rule] === "refuse");
    return { rows, violated, refusal: new ActionRefused(sentence(/** @type {Breach} */ (breach))) };
  }
  const given = strictest === "clamp" ? clamped : strictest === "hold" && before ? before : safeRows(tensors);
  return { rows: { ...rows, ...given }, violated, refusal: null };
}

/**
 * A tensor within its limits. Where it was not, one breach of each rule is added to those found.
 * @param {TensorLimits} limits
 * @param {any} row
 * @param {any} before
 * @param {number} seconds
 * @param {Breach[]} breaches
 */
function clamp({ spec, minimum, maximum, change_per_step, change_per_second }, row, before, seconds, breaches) {
  const whole = isWhole(spec);
  const exact = (/** @type {any} */ value) => (whole ? BigInt(value) : value);
  const round = spec.dtype === "float32" ? Math.fround : (/** @type {any} */ value) => value;
  const clamped = row.slice();
  /** @type {Record<string, Breach>} */
  const found = {};
  for (let at = 0; at < row.length; at++) {
    const value = exact(row[at]);
    /** @param {string} rule @param {any} x @param {any} low @param {any} high */
    const within = (rule, x, low, high) => {
      const kept = low !== null && x < low ? low : high !== null && x > high ? high : x;
      if (!Object.is(kept, x)) found[rule] ??= { spec, rule, at, low, high, value };
      return kept;
    };
    if (!whole && !Number.isFinite(value)) {
      found.non_finite ??= { spec, rule: "non_finite", at, low: null, high: null, value };
    }
    let kept = within("out_of_range", value, minimum[at], maximum[at]);
    const change = before && reach(change_per_step[at], change_per_second[at], seconds, whole, round);
    if (change !== null) {
      const last = exact(before[at]);
      kept = within("too_fast", kept, round(last - change), round(last + change));
    }
    if (!Object.is(kept, value)) clamped[at] = typeof row[at] === "bigint" ? kept : Number(kept);
  }
  breaches.push(...RULES.flatMap((rule) => found[rule] ?? []));
  return clamped;
}

/**
 * How far an element may be from the one before; null if that is not limited.
 * @param {any} step
 * @param {number | null} rate
 * @param {number} seconds
 * @param {boolean} whole
 * @param {(value: number) => number} round
 */
function reach(step, rate, seconds, whole, round) {
  let change = step;
  if (rate !== null) {
    const product = whole ? rate * seconds : round(rate * round(seconds));
    const reached = !whole ? product : product < 2 ** 63 ? BigInt(Math.floor(product)) : MOST;
    if (step === null || reached < step) change = reached;
  }
  return whole && change !== null && change >= MOST ? null : change;
}

/**
 * The action that is nearest to this one within the limits of its range.
 * @param {Guard} guard
 * @param {Rows} rows
 * @returns {Rows}
 */
export function nearestWithin({ tensors }, rows) {
  const pairs = tensors.map((limits) => [limits.spec.name, clamp(limits, rows[limits.spec.name], null, 0, [])]);
  return Object.fromEntries(pairs);
}

/** @param {TensorLimits[]} tensors @returns {Rows} */
function safeRows(tensors) {
  return Object.fromEntries(
    tensors.map(({ spec, safe }) => {
      const row = new DTYPES[spec.dtype].array(safe.length);
      safe.forEach((value, i) => (row[i] = typeof row[i] === "bigint" ? value : Number(value)));
      return [spec.name, row];
    }),
  );
}

/** @param {Breach} breach */
function sentence({ spec, rule, at, low, high, value }) {
  let [place, size] = ["", 1];
  for (const length of [...spec.shape].reverse()) {
    place = `[${Math.floor(at / size) % length}]${place}`;
    size *= length;
  }
  const [least, most] = isWhole(spec) ? [LEAST, MOST] : [-Infinity, Infinity];
  const [first, last] = [low !== null && low > least ? low : least, high !== null && high < most ? high : most];
  const range = `${inWords(first)} to ${inWords(last)}${rule === "too_fast" ? " after the action before" : ""}`;
  const expected = rule === "non_finite" ? "a finite number" : range;
  const where = `${spec.name}${place}`;
  return `${where}: the guard refuses an action that is ${rule}: expected ${expected}, got ${inWords(value)}.`;
}
