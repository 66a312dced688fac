/**
 * The form of one tensor: sliders, switches, a picture, or JSON where it is large.
 *
 * In:      its spec, with the names, units and ranges of the manifest.
 * Out:     a fieldset; the value that is set, nested as the shape says.
 * Refuses: text that is no JSON of numbers (Error, when the value is read).
 */

import { element } from "./element.js";
import { pictureField } from "./picture.js";
import { elementNames, isWhole, label, nested, pictureOf, rangeOf, sizeOf } from "./spec.js";

/** @typedef {import("./spec.js").Manifest} Manifest */
/** @typedef {import("./spec.js").Spec} Spec */
/**
 * @typedef {object} Field
 * @property {HTMLElement} node
 * @property {() => any} read the value
 * @property {(how: "neutral" | "random") => void} set
 */

const MOST_SLIDERS = 48;

/**
 * @param {Manifest} manifest
 * @param {Spec} spec
 * @param {() => void} onChange
 * @returns {Field}
 */
export function field(manifest, spec, onChange) {
  const picture = pictureOf(spec);
  if (picture) return pictureField(spec, picture, rangeOf(manifest, spec, 0), onChange);
  return sizeOf(spec) <= MOST_SLIDERS ? sliders(manifest, spec, onChange) : text(manifest, spec, onChange);
}

/** @param {Spec} spec */
export const titleOf = (spec) => `${spec.path?.length ? spec.path.join(".") : spec.name}, ${label(spec)}`;

/** @param {Manifest} manifest @param {Spec} spec @param {() => void} onChange @returns {Field} */
function sliders(manifest, spec, onChange) {
  const made = elementNames(manifest, spec).map(({ name, unit }, i) =>
    spec.dtype === "bool"
      ? flag(name, onChange)
      : slider(name, unit, rangeOf(manifest, spec, i), isWhole(spec), onChange),
  );
  return {
    node: element(
      "fieldset",
      {},
      element("legend", {}, titleOf(spec)),
      made.map(({ node }) => node),
    ),
    read: () =>
      nested(
        made.map(({ read }) => read()),
        spec.shape,
      ),
    set: (how) => made.forEach(({ set }) => set(how)),
  };
}

/** @param {string} name @param {() => void} onChange @returns {Field} */
function flag(name, onChange) {
  const input = element("input", { type: "checkbox", onchange: onChange });
  const node = element("label", { className: "control" }, input, name);
  return { node, read: () => input.checked, set: (how) => (input.checked = how === "random" && Math.random() < 0.5) };
}

/**
 * A slider beside a number, which may lie beyond the slider's ends.
 * @param {string} name
 * @param {string} unit
 * @param {import("./spec.js").Range} range
 * @param {boolean} whole
 * @param {() => void} onChange
 * @returns {Field}
 */
function slider(name, unit, { low, high, step }, whole, onChange) {
  const id = `field-${(count += 1)}`;
  const places = whole ? 0 : Math.max(0, -Math.floor(Math.log10(step)));
  const number = element("input", { type: "number", id, step: "any", required: true });
  const range = element("input", {
    type: "range",
    min: low,
    max: high,
    step: step / 10,
    "aria-label": `${name}, slider`,
  });
  if (whole) range.step = "1";
  const put = (/** @type {number} */ value) => {
    number.value = String(Number(value.toFixed(places + 1)));
    range.value = number.value;
  };
  range.addEventListener("input", () => (put(Number(range.value)), onChange()));
  number.addEventListener("input", () => ((range.value = number.value), onChange()));
  put(Math.min(Math.max(0, low), high));
  return {
    node: element(
      "div",
      { className: "element" },
      element("label", { htmlFor: id }, name, unit && element("small", {}, ` [${unit}]`)),
      range,
      number,
    ),
    read: () => {
      const value = number.valueAsNumber;
      if (!Number.isFinite(value)) throw new Error(`${name}: expected a number.`);
      return value;
    },
    set: (how) => {
      const value = how === "random" ? low + Math.random() * (high - low) : Math.min(Math.max(0, low), high);
      put(whole ? Math.round(value) : value);
    },
  };
}
let count = 0;

/** @param {Manifest} manifest @param {Spec} spec @param {() => void} onChange @returns {Field} */
function text(manifest, spec, onChange) {
  const area = element("textarea", { rows: 6, spellcheck: false, "aria-label": titleOf(spec), oninput: onChange });
  const set = (/** @type {"neutral" | "random"} */ how) => {
    const elements = Array.from({ length: sizeOf(spec) }, (_, i) => {
      const { low, high } = rangeOf(manifest, spec, i);
      const value = how === "random" ? low + Math.random() * (high - low) : Math.min(Math.max(0, low), high);
      return isWhole(spec) ? Math.round(value) : Number(value.toPrecision(4));
    });
    const values = spec.dtype === "bool" ? elements.map((value) => value > 0.5) : elements;
    area.value = JSON.stringify(nested(values, spec.shape));
  };
  set("neutral");
  return {
    node: element("fieldset", {}, element("legend", {}, titleOf(spec)), area),
    read: () => {
      try {
        return JSON.parse(area.value);
      } catch {
        throw new Error(`${titleOf(spec)}: expected JSON, such as [0, 1].`);
      }
    },
    set,
  };
}
