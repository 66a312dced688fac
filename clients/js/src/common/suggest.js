/**
 * Suggests a known name in place of an unknown one, as Python's client does.
 *
 * In:      a name that is not known, and those that are.
 * Out:     the known name that looks most like it; undefined if none does.
 *
 * Likeness is the ratio of Ratcliff and Obershelp, as Python's difflib computes it: twice the characters in matching
 * blocks by the characters of both names.
 */

const ALIKE = 0.6;

/**
 * @param {string} name
 * @param {string[]} known
 * @returns {string | undefined} upper and lower case count as alike
 */
export function nearest(name, known) {
  const word = [...name.toLowerCase()];
  const lower = new Map(known.map((one) => [one.toLowerCase(), one]));
  /** @type {{one?: string, ratio: number}} */
  let best = { ratio: 0 };
  for (const one of lower.keys()) {
    const letters = [...one];
    const ratio = (2 * matching(letters, word)) / (letters.length + word.length);
    const isBetter = ratio > best.ratio || (ratio === best.ratio && one > (best.one ?? ""));
    if (ratio >= ALIKE && isBetter) best = { one, ratio };
  }
  return lower.get(best.one ?? "");
}

/**
 * The characters in the longest common block, and in those to its left and to its right.
 * @param {string[]} a
 * @param {string[]} b
 * @returns {number}
 */
function matching(a, b) {
  const block = { a: 0, b: 0, length: 0 };
  let before = new Map();
  for (let i = 0; i < a.length; i++) {
    const lengths = new Map();
    for (let j = 0; j < b.length; j++) {
      if (a[i] !== b[j]) continue;
      const length = (before.get(j - 1) ?? 0) + 1;
      lengths.set(j, length);
      if (length > block.length) Object.assign(block, { a: i - length + 1, b: j - length + 1, length });
    }
    before = lengths;
  }
  if (!block.length) return 0;
  const left = matching(a.slice(0, block.a), b.slice(0, block.b));
  return left + block.length + matching(a.slice(block.a + block.length), b.slice(block.b + block.length));
}
