/**
 * Whether a server is trusted, from how its answers went: back after several good ones, without flapping.
 *
 * In:      good and bad answers, each with its time in milliseconds.
 * Out:     `isTrusted`.
 *
 * A bad answer ends the trust, `probes` good ones in a row restore it. If it ends again within `settleMs`, twice as many
 * are needed the next time, up to 64.
 */

const MOST = 64;

export class Probation {
  isTrusted = true;
  good = 0; // in a row, since the trust ended
  #restoredMs = -Infinity;

  /**
   * @param {number} probes
   * @param {number} settleMs
   */
  constructor(probes, settleMs) {
    this.probes = probes;
    this.settleMs = settleMs;
    this.needed = probes;
  }

  /** @param {number} nowMs */
  fail(nowMs) {
    this.good = 0;
    if (!this.isTrusted) return;
    this.isTrusted = false;
    const isSoon = nowMs - this.#restoredMs < this.settleMs;
    this.needed = isSoon ? Math.min(2 * this.needed, Math.max(MOST, this.probes)) : this.probes;
  }

  /** @param {number} nowMs */
  succeed(nowMs) {
    if (this.isTrusted) return;
    this.good += 1;
    if (this.good < this.needed) return;
    this.isTrusted = true;
    this.#restoredMs = nowMs;
  }
}
