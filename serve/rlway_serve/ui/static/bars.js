/**
 * Numbers as bars, in a table that reads without them.
 *
 * In:      names and values; bounds, if there are any.
 * Out:     a table. The bars begin at zero.
 */

import { element } from "./element.js";

/** @typedef {{name: string, value: number | null}} Bar */

/**
 * @param {string} caption
 * @param {Bar[]} bars
 * @param {{bounds?: [number, number] | null, best?: number | null}} [options] `best`: which one stands out
 */
export function bars(caption, bars, { bounds = null, best = null } = {}) {
  const values = bars.flatMap(({ value }) => (value === null ? [] : [value]));
  const low = Math.min(0, bounds?.[0] ?? 0, ...values);
  const high = Math.max(0, bounds?.[1] ?? 0, ...values);
  const share = (/** @type {number} */ value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  const rows = bars.map(({ name, value }, i) => {
    const fill = element("i");
    fill.style.left = share(Math.min(0, value ?? 0));
    fill.style.right = `calc(100% - ${share(Math.max(0, value ?? 0))})`;
    return element(
      "tr",
      { className: i === best ? "best" : "" },
      element("th", { scope: "row" }, name),
      element("td", { className: "bar", "aria-hidden": "true" }, element("span", {}, fill)),
      element("td", { className: "number" }, value === null ? "–" : short(value)),
    );
  });
  return element(
    "table",
    { className: "bars" },
    element("caption", { className: "unseen" }, caption),
    element("tbody", {}, rows),
  );
}

/** @param {number} value */
export function short(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 3 });
}
