/**
 * A line over the last minute.
 *
 * In:      one or several series of the same length; null where there was nothing.
 * Out:     a picture, which says in words what it shows.
 */

import { drawn } from "./element.js";

const [WIDTH, HEIGHT] = [300, 64];

/**
 * @param {string} words
 * @param {(number | null)[][]} series the first is drawn last
 * @param {number} points how many there are room for
 */
export function chart(words, series, points) {
  const values = series.flat().filter((value) => value !== null);
  const top = Math.max(...values, 0) || 1;
  const x = (/** @type {number} */ place) => ((WIDTH * place) / (points - 1)).toFixed(1);
  const y = (/** @type {number} */ value) => (HEIGHT - 2 - ((HEIGHT - 6) * value) / top).toFixed(1);
  const lines = series.map((line, i) => {
    const at = (/** @type {number | null} */ value, /** @type {number} */ place) =>
      value === null ? [] : [`${x(place + points - line.length)},${y(value)}`];
    return drawn("polyline", { points: line.flatMap(at).join(" "), class: i ? "second" : "first" });
  });
  const floor = drawn("polyline", { points: `0,${HEIGHT - 1} ${WIDTH},${HEIGHT - 1}`, class: "floor" });
  return drawn(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      class: "chart",
      role: "img",
      "aria-label": words,
    },
    floor,
    ...lines.reverse(),
  );
}
