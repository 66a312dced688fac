/** Shortens what a sentence quotes, so that it can still be read. */

const [NAME, LIST] = [60, 80]; // characters

/** @param {string} name @returns {string} the name; a long one loses its beginning */
export const shortName = (name) => (name.length <= NAME ? name : `…${name.slice(1 - NAME)}`);

/** @param {readonly string[]} names @returns {string} the names as a list, which is cut at its end if it is long */
export function named(names) {
  const text = names.join(", ");
  return text.length <= LIST ? text : `${text.slice(0, LIST - 1)}… (${names.length} in all)`;
}
