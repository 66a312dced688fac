/**
 * How much of an episode the server has seen, where its steps depend on each other.
 *
 * In:      the steps, and which of them the server answered or missed.
 * Out:     `isWarm`, whether its actions are those of the episode: it has seen every step, or the last 16 at least.
 */

const WARM_STEPS = 16;

export class ServerEpisode {
  steps = 0;
  #seen = 0; // without a gap

  /** @param {boolean} hasGap whether the server has missed a step, so that its own episode has to begin anew */
  constructor(hasGap) {
    this.hasGap = hasGap;
  }

  /** The server's own episode begins with the next step. */
  begin() {
    this.hasGap = false;
    this.#seen = 0;
  }

  /** The server has answered the newest step. */
  see() {
    this.#seen += 1;
  }

  get isWarm() {
    return !this.hasGap && (this.#seen >= WARM_STEPS || this.#seen === this.steps);
  }
}
