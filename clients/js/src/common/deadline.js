/** The end of a time span, which the parts of one task share. */
export class Deadline {
  /** @param {number} ms from now */
  constructor(ms) {
    this.ms = ms;
    this.end = performance.now() + ms;
  }

  /** Milliseconds that are left; none once it has passed. */
  get left() {
    return Math.max(0, this.end - performance.now());
  }
}
