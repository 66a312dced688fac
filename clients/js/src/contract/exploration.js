/**
 * Turns exploration options into the noise that a policy's graph takes; zero noise gives the greedy action.
 *
 * In:      epsilon, temperature or sigma; the draws that the noise consists of; a source of random numbers.
 * Out:     noise, one row.
 * Refuses: a kind of exploration that does not fit the policy's draws (SpecViolated).
 *
 * The distributions are those of the Python package, which says what each option means. The random numbers are not: a
 * seed gives the same action again in this client, and another one in Python or on a server.
 */

import { SpecViolated } from "./errors.js";
import { describe } from "./specs.js";

/** @typedef {{epsilon?: number | null, temperature?: number | null, sigma?: number | null}} Explore */
/** @typedef {{distribution: "normal" | "gumbel", size: number}} Draw */

const FORCED = 1e30; // above every Q-value, yet finite
const MOST_NOISE = 1e6; // the largest temperature or sigma, with which the noise is still finite in float32

/**
 * Throws SpecViolated if a policy with these draws cannot explore in this way.
 * @param {Explore} explore
 * @param {Draw[]} draws
 */
export function checkExplore(explore, draws) {
  /** @param {string} path @param {string} expected @param {string} got */
  const refuse = (path, expected, got) => {
    throw new SpecViolated([{ path, expected, got }]);
  };
  const given = Object.entries(explore).filter(([, value]) => value !== null && value !== undefined);
  const kinds = new Set(draws.map((draw) => draw.distribution));
  const isMixed = kinds.size > 1;
  if (!kinds.size) refuse("explore", "nothing: this policy was exported without a noise input", "an object");
  const discrete = kinds.has("gumbel");
  const allowed = isMixed ? ["temperature", "sigma"] : discrete ? ["epsilon", "temperature"] : ["sigma"];
  if (given.length < 1 || (given.length > 1 && !(isMixed && given.every(([name]) => allowed.includes(name))))) {
    const names = given.map(([name]) => name).join(", ") || "none";
    refuse("explore", `${isMixed ? "one or both" : "exactly one"} of ${allowed.join(", ")}`, names);
  }
  for (const [name, value] of given) {
    if (!allowed.includes(name)) {
      const kind = isMixed ? "mixed" : discrete ? "discrete" : "continuous";
      refuse(`explore.${name}`, `${allowed.join(" or ")} for a ${kind} action`, name);
    }
    const most = name === "epsilon" ? 1 : MOST_NOISE;
    if (!(typeof value === "number" && value >= 0 && value <= most)) {
      refuse(
        `explore.${name}`,
        name === "epsilon" ? "a number from 0 to 1" : "a number from 0 to 1e+06",
        describe(value),
      );
    }
  }
}

/**
 * @param {Explore} explore
 * @param {Draw[]} draws
 * @param {() => number} random from 0 up to 1, as Math.random
 * @returns {Float32Array<ArrayBuffer>}
 */
export function drawNoise({ epsilon, temperature, sigma }, draws, random) {
  const forced = epsilon !== null && epsilon !== undefined && random() < epsilon;
  const noise = draws.flatMap(({ distribution, size }) => {
    const scale = (distribution === "gumbel" ? temperature : sigma) ?? 0;
    const draw = distribution === "gumbel" ? gumbel : normal;
    const part = Array.from({ length: size }, () => (scale ? scale * draw(random) : 0));
    if (forced) part[Math.floor(random() * size)] = FORCED;
    return part;
  });
  return new Float32Array(noise);
}

/** @param {() => number} random a number above 0 */
const positive = (random) => 1 - random();

/** @param {() => number} random */
const gumbel = (random) => -Math.log(Math.max(-Math.log(positive(random)), Number.MIN_VALUE));

/** @param {() => number} random by Box and Muller */
const normal = (random) => Math.sqrt(-2 * Math.log(positive(random))) * Math.cos(2 * Math.PI * random());

/**
 * Random numbers from 0 up to 1 by a seed of 32 bits: the generator mulberry32.
 * @param {number} seed
 * @returns {() => number}
 */
export function seeded(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
