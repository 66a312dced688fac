/**
 * The form of a picture: drawn with the pointer, or taken from a file.
 *
 * In:      the shape, and the range of its values.
 * Out:     a fieldset; the picture's values, nested as the shape says. Frames of a stack and grey channels are alike.
 */

import { element } from "./element.js";
import { isWhole, label, nested } from "./spec.js";

/** @typedef {{height: number, width: number, depth: number, first: boolean}} Picture */

/**
 * @param {import("./spec.js").Spec} spec
 * @param {Picture} picture
 * @param {import("./spec.js").Range} range
 * @param {() => void} onChange
 * @returns {import("./field.js").Field}
 */
export function pictureField(spec, picture, { low, high }, onChange) {
  const { height, width } = picture;
  const title = spec.path?.length ? spec.path.join(".") : spec.name;
  const canvas = element("canvas", {
    className: "pad",
    tabIndex: 0,
    role: "img",
    "aria-label": `${title}: a picture of ${width} by ${height}. Draw with the pointer, or choose a file below.`,
  });
  [canvas.width, canvas.height] = [width, height];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  const shade = element("input", { type: "color", value: "#ffffff" });
  const size = element("input", { type: "range", min: 1, max: Math.max(2, Math.round(width / 8)), value: 2 });
  const clear = () => {
    pen.fillStyle = "#000000";
    pen.fillRect(0, 0, width, height);
  };
  clear();

  /** @type {[number, number] | null} */
  let last = null;
  const draw = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    const here = /** @type {[number, number]} */ ([
      ((event.clientX - box.left) / box.width) * width,
      ((event.clientY - box.top) / box.height) * height,
    ]);
    pen.strokeStyle = shade.value;
    pen.lineWidth = Number(size.value);
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(...(last ?? here));
    pen.lineTo(here[0] + 0.01, here[1]);
    pen.stroke();
    last = here;
    onChange();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    draw(event);
  });
  canvas.addEventListener("pointermove", (event) => last && draw(event));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));

  const file = element("input", { type: "file", accept: "image/*", "aria-label": `${title}: a picture from a file` });
  file.addEventListener("change", async () => {
    if (!file.files?.length) return;
    const bitmap = await createImageBitmap(file.files[0]);
    pen.drawImage(bitmap, 0, 0, width, height);
    onChange();
  });

  return {
    node: element(
      "fieldset",
      {},
      element("legend", {}, `${title}, ${label(spec)}`),
      canvas,
      element(
        "div",
        { className: "row" },
        element("label", { className: "control" }, "Colour", shade),
        element("label", { className: "control" }, "Pen", size),
        element("button", { type: "button", onclick: () => (clear(), onChange()) }, "Clear"),
      ),
      file,
    ),
    read: () => valuesOf(pen.getImageData(0, 0, width, height).data, spec, picture, low, high),
    set: (how) => {
      clear();
      if (how === "random") scatter(pen, width, height);
    },
  };
}

/**
 * @param {Uint8ClampedArray} pixels
 * @param {import("./spec.js").Spec} spec
 * @param {Picture} picture
 * @param {number} low the value of black
 * @param {number} high the value of white
 */
export function valuesOf(pixels, spec, { height, width, depth, first }, low, high) {
  const area = height * width;
  const values = new Array(area * depth);
  for (let at = 0; at < area; at += 1) {
    const [red, green, blue] = pixels.subarray(4 * at, 4 * at + 3);
    const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    for (let channel = 0; channel < depth; channel += 1) {
      const part = depth === 3 ? [red, green, blue][channel] : grey;
      const value = low + (part / 255) * (high - low);
      values[first ? channel * area + at : at * depth + channel] = isWhole(spec) ? Math.round(value) : value;
    }
  }
  return nested(values, spec.shape);
}

/** @param {CanvasRenderingContext2D} pen @param {number} width @param {number} height */
function scatter(pen, width, height) {
  for (let i = 0; i < 12; i += 1) {
    const shade = Math.round(60 + Math.random() * 195);
    pen.fillStyle = `rgb(${shade} ${shade} ${shade})`;
    const size = Math.max(1, Math.random() * width * 0.25);
    pen.fillRect(Math.random() * width, Math.random() * height, size, size);
  }
}
