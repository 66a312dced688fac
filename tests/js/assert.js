/** Claims that fail with what was expected and what was found; in Node and in a page. */

/** A value in a form that can be compared: types of arrays, BigInts and NaN count. */
const shown = (value) =>
  JSON.stringify(value, (_, part) => {
    if (typeof part === "bigint") return `${part}n`;
    if (typeof part === "number" && !Number.isFinite(part)) return String(part);
    return ArrayBuffer.isView(part) ? { [part.constructor.name]: Array.from(part) } : part;
  });

export function equal(found, expected) {
  if (shown(found) !== shown(expected)) throw new Error(`expected ${shown(expected)}, got ${shown(found)}`);
}

export function ok(condition, what) {
  if (!condition) throw new Error(`expected ${what}`);
}

/** The error that a promise is rejected with, of this class and with this sentence (a text, or a pattern). */
export async function refuses(promise, kind, sentence) {
  const error = await Promise.resolve(promise).then(
    (value) => ok(false, `${kind.name}, got ${shown(value)}`),
    (error) => error,
  );
  const fits = sentence instanceof RegExp ? sentence.test(error.message) : sentence === error.message;
  ok(error instanceof kind && fits, `${kind.name}: ${sentence}, got ${error.stack}`);
  return error;
}
