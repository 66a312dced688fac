/**
 * Prometheus' text format, and what two readings of it say of the time between them.
 *
 * In:      the text of `/metrics`.
 * Out:     samples; sums, rates and percentiles of one policy.
 */

/** @typedef {{name: string, labels: Record<string, string>, value: number}} Sample */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** @param {string} text @returns {Sample[]} */
export function readMetrics(text) {
  return text.split("\n").flatMap((line) => {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) return [];
    const labels = Object.fromEntries(
      [...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [
        name,
        value.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter)),
      ]),
    );
    const value = found[3] === "+Inf" ? Infinity : Number(found[3]);
    return [{ name: found[1], labels, value }];
  });
}

/** One reading, of one policy and one version of it. */
export class Reading {
  /**
   * @param {Sample[]} samples
   * @param {string} policy
   * @param {string | null} version null: all of them
   * @param {number} at_s
   */
  constructor(samples, policy, version, at_s) {
    this.at_s = at_s;
    this.samples = samples.filter(
      ({ labels }) =>
        labels.policy === policy && (version === null || labels.version === undefined || labels.version === version),
    );
  }

  /** @param {string} name */
  sum(name) {
    return this.samples.reduce((total, sample) => (sample.name === name ? total + sample.value : total), 0);
  }

  /**
   * Sums by the value of a label, or of several.
   * @param {string} name
   * @param {...string} by
   * @returns {Map<string, number>}
   */
  by(name, ...by) {
    const sums = new Map();
    for (const { labels, value, name: found } of this.samples) {
      const key = by.map((label) => labels[label]).join(" ");
      if (found === name) sums.set(key, (sums.get(key) ?? 0) + value);
    }
    return sums;
  }
}

/** The time between two readings. A counter that fell has begun anew. */
export class Span {
  /** @param {Reading} before @param {Reading} now */
  constructor(before, now) {
    this.before = before;
    this.now = now;
    this.seconds = Math.max(now.at_s - before.at_s, 1e-3);
  }

  /** @param {string} name */
  grown(name) {
    return Math.max(0, this.now.sum(name) - this.before.sum(name));
  }

  /** @param {string} name */
  rate(name) {
    return this.grown(name) / this.seconds;
  }

  /** @param {string} name @param {...string} by @returns {[string, number][]} the largest first */
  grownBy(name, ...by) {
    const before = this.before.by(name, ...by);
    return [...this.now.by(name, ...by)]
      .map(([key, value]) => /** @type {[string, number]} */ ([key, Math.max(0, value - (before.get(key) ?? 0))]))
      .sort(([, a], [, b]) => b - a);
  }

  /**
   * How many values fell into each bucket of a histogram.
   * @param {string} name
   * @returns {[number, number][]} upper edge and count
   */
  buckets(name) {
    const grown = new Map(this.grownBy(`${name}_bucket`, "le"));
    const edges = [...grown.keys()].map(
      (edge) => /** @type {[number, string]} */ ([edge === "+Inf" ? Infinity : Number(edge), edge]),
    );
    edges.sort(([a], [b]) => a - b);
    let seen = 0;
    return edges.map(([edge, text]) => {
      const upTo = /** @type {number} */ (grown.get(text));
      const count = Math.max(0, upTo - seen);
      seen = Math.max(seen, upTo);
      return [edge, count];
    });
  }

  /**
   * The value that a share of all lie below, taken evenly within its bucket; null if there were none.
   * @param {string} name
   * @param {number} share
   * @returns {number | null}
   */
  percentile(name, share) {
    const buckets = this.buckets(name);
    const wanted = share * buckets.reduce((total, [, count]) => total + count, 0);
    if (!wanted) return null;
    let [seen, low] = [0, 0];
    for (const [edge, count] of buckets) {
      if (seen + count >= wanted) return edge === Infinity ? low : low + ((edge - low) * (wanted - seen)) / count;
      [seen, low] = [seen + count, edge];
    }
    return low;
  }
}
