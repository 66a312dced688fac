/**
 * onnxruntime's session of a bundle's ONNX file.
 *
 * In:      the bytes of the file, its manifest, onnxruntime; one row of each input by name.
 * Out:     one row of each output by name.
 * Refuses: a file that is damaged, or whose tensors are not those of the manifest (BundleInvalid); a program without
 *          onnxruntime (RuntimeMissing).
 */

import { BundleInvalid, RuntimeMissing } from "../contract/errors.js";
import { DTYPES, listed, sizeOf } from "../contract/specs.js";

/** @typedef {import("../contract/nesting.js").Rows} Rows */
/** @typedef {import("../contract/specs.js").TensorSpec} TensorSpec */
/** @typedef {{inputs: TensorSpec[], results: TensorSpec[]}} Tensors */

/** @returns {Promise<any>} the module onnxruntime-web, unless the caller has another one */
export async function importRuntime() {
  try {
    return await import("onnxruntime-web");
  } catch (error) {
    const remedy = "run `npm install onnxruntime-web`, or pass the module as {ort}";
    throw new RuntimeMissing(`running ONNX files needs onnxruntime-web, which is not here; ${remedy}.`, {
      cause: error,
    });
  }
}

/**
 * Throws BundleInvalid unless the bytes have this SHA-256.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {string | undefined} expected
 * @param {string} where
 */
export async function checkSum(bytes, expected, where) {
  if (expected === undefined) {
    throw new BundleInvalid(`${where}: the manifest does not list it; export the policy with that format.`);
  }
  if (!globalThis.crypto?.subtle) {
    throw new RuntimeMissing(
      `${where}: its SHA-256 cannot be computed on an insecure page; serve it over https or from localhost.`,
    );
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== expected) {
    throw new BundleInvalid(`${where}: damaged: expected SHA-256 ${expected}, got ${found}; export the policy again.`);
  }
}

export class Session {
  #ort;
  #session;
  #tensors;

  /**
   * @param {any} ort
   * @param {any} session
   * @param {Tensors} tensors
   */
  constructor(ort, session, tensors) {
    this.#ort = ort;
    this.#session = session;
    this.#tensors = tensors;
  }

  /**
   * @param {any} ort
   * @param {Uint8Array} bytes
   * @param {Tensors} tensors
   * @param {string} where
   */
  static async open(ort, bytes, tensors, where) {
    let session;
    try {
      session = await ort.InferenceSession.create(bytes);
    } catch (error) {
      const reason = String(/** @type {any} */ (error)?.message ?? error).slice(0, 160);
      throw new BundleInvalid(`${where}: onnxruntime cannot load it: ${reason}.`);
    }
    check(where, "input", session.inputMetadata, tensors.inputs);
    check(where, "output", session.outputMetadata, tensors.results);
    return new Session(ort, session, tensors);
  }

  /**
   * @param {Rows} rows
   * @returns {Promise<Rows>}
   */
  async run(rows) {
    const { Tensor } = this.#ort;
    const feeds = this.#tensors.inputs.map((spec) => [
      spec.name,
      new Tensor(spec.dtype, rows[spec.name], [1, ...spec.shape]),
    ]);
    const results = await this.#session.run(Object.fromEntries(feeds));
    return Object.fromEntries(this.#tensors.results.map(({ name }) => [name, results[name].data]));
  }

  async close() {
    await this.#session.release();
  }
}

/**
 * Throws BundleInvalid if the tensors are not those of the manifest.
 * @param {string} where
 * @param {string} kind
 * @param {readonly any[]} tensors
 * @param {TensorSpec[]} specs
 */
function check(where, kind, tensors, specs) {
  const found = new Map(tensors.map((one) => [one.name, one.type + listed([1, ...(one.shape ?? []).slice(1)])]));
  for (const spec of specs) {
    const expected = spec.dtype + listed([1, ...spec.shape]);
    if (spec.dtype === "float16") {
      throw new BundleInvalid(
        `${where}: ${kind} ${spec.name}: float16, which JavaScript has no array for; export it as float32.`,
      );
    }
    if (found.get(spec.name) !== expected) {
      const got = found.get(spec.name) ?? "none of the name";
      throw new BundleInvalid(
        `${where}: ${kind} ${spec.name}: expected ${expected}, as the manifest says, got ${got}.`,
      );
    }
    found.delete(spec.name);
  }
  for (const name of found.keys()) {
    throw new BundleInvalid(`${where}: ${kind} ${name}: the manifest has none of this name.`);
  }
}

/** @param {TensorSpec} spec @returns {import("../contract/specs.js").TypedArray} a row of zeros */
export const zeros = (spec) => new DTYPES[spec.dtype].array(sizeOf(spec));
