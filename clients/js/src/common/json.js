/**
 * JSON whose whole numbers stay exact.
 *
 * In:      JSON text.
 * Out:     its value, in which a whole number beyond 2^53 is a BigInt. `JSON.parse` would round it.
 * Refuses: what is not JSON (SyntaxError).
 */

const LONG = /(?<![.\d])\d{16}/; // digits that are not a fraction's: perhaps a number beyond 2^53
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g; // texts, so that their digits are skipped
const MARK = "\u0000"; // JSON text cannot hold it, but for its escape

/**
 * @param {string} text
 * @returns {any}
 */
export function parseExact(text) {
  if (!LONG.test(text)) return JSON.parse(text);
  const marked = text.replace(TOKENS, (token) => (isInexact(token) ? `"\\u0000${token}"` : token));
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(MARK) && /^-?\d+$/.test(value.slice(1))
      ? BigInt(value.slice(1))
      : value,
  );
}

/** @param {string} token */
const isInexact = (token) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));
