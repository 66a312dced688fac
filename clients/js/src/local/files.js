/**
 * Files of a bundle, from a folder (Node) or from below a URL.
 *
 * In:      its path or URL.
 * Out:     its bytes.
 * Refuses: a file that is not there (BundleInvalid).
 */

import { isBrowser } from "../common/browser.js";
import { BundleInvalid } from "../contract/errors.js";

/**
 * @param {string} place
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function readFile(place) {
  try {
    return new Uint8Array(isPath(place) ? await fromDisk(place) : await fromServer(place));
  } catch (error) {
    throw new BundleInvalid(`${place}: cannot be read: ${reasonOf(error)}.`);
  }
}

/**
 * Whether a folder has such a file. A server is not asked.
 * @param {string} place
 */
export const isInFolder = async (place) =>
  isPath(place) && fromDisk(place).then(Boolean, (/** @type {any} */ error) => error.code !== "ENOENT");

/** @param {string} place */
const isPath = (place) => !isBrowser && !/^https?:/.test(place);

/** @param {string} place a path, or a URL `file:///…` */
async function fromDisk(place) {
  const files = "node:fs/promises"; // in a variable, so that bundlers for browsers do not look for it
  const { readFile } = await import(files);
  return readFile(place.startsWith("file:") ? new URL(place) : place);
}

/** @param {string} place relative to the page, in a browser */
async function fromServer(place) {
  const response = await fetch(place);
  if (!response.ok) throw new Error(`the server answered with status ${response.status}`);
  return response.arrayBuffer();
}

/** @param {any} error */
const reasonOf = (error) => (error.code === "ENOENT" ? "no such file" : String(error.cause?.message || error.message));
