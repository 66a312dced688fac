/**
 * CartPole-v1, with the equations and numbers of gymnasium.
 *
 * In:      actions 0 (left) and 1 (right); pushes of a hand.
 * Out:     observations; whether the pole has fallen.
 */

const [GRAVITY, CART_KG, POLE_KG, HALF_LENGTH_M, FORCE_N] = [9.8, 1.0, 0.1, 0.5, 10.0];
const TOTAL_KG = CART_KG + POLE_KG;
const MOMENT = POLE_KG * HALF_LENGTH_M;
export const EDGE_M = 2.4;
const MOST_TILT = (12 * 2 * Math.PI) / 360;

const ENVS = ["CartPole-v0", "CartPole-v1"];
const WITHOUT_VELOCITIES = "rlway/CartPolePositions-v0";

export class CartPole {
  static title = "CartPole";
  static step_s = 0.02;
  static rewardOfStep = "1 for each step";
  static strength = { low: 0.1, high: 2, step: 0.1, value: 0.5, unit: "rad/s" };

  /** @param {import("./spec.js").Manifest} manifest */
  static fits({ env, observation, action, frame_stack = 1 }) {
    const [spec] = observation;
    const size = env === WITHOUT_VELOCITIES ? 2 : 4;
    const isKnown = env === null || ENVS.includes(env) || env === WITHOUT_VELOCITIES;
    const isDiscrete = !Array.isArray(action) && /int/.test(action.dtype) && !action.shape.length;
    const hasTwo = isDiscrete && action.minimum === 0 && action.maximum === 1;
    const isVector = observation.length === 1 && spec.shape.length === 1 && spec.shape[0] === size;
    return isKnown && hasTwo && isVector && spec.dtype.startsWith("float") && frame_stack === 1;
  }

  /** @param {import("./spec.js").Manifest} manifest */
  constructor({ env }) {
    this.isPartial = env === WITHOUT_VELOCITIES;
    this.state = [0, 0, 0, 0]; // x [m], its velocity, the pole's angle from upright [rad], its velocity
    this.force = 0;
    this.reset();
  }

  /** Begins an episode near the upright pole. */
  reset() {
    this.state = Array.from({ length: 4 }, () => (Math.random() - 0.5) / 10);
    this.force = 0;
  }

  get observation() {
    const [x, , angle] = this.state;
    return this.isPartial ? [x, angle] : this.state;
  }

  /**
   * @param {number} action
   * @returns {{reward: number, ended: boolean}}
   */
  step(action) {
    const [x, xDot, angle, angleDot] = this.state;
    this.force = Number(action) === 1 ? FORCE_N : -FORCE_N;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const shared = (this.force + MOMENT * angleDot * angleDot * sin) / TOTAL_KG;
    const angleAcceleration =
      (GRAVITY * sin - cos * shared) / (HALF_LENGTH_M * (4 / 3 - (POLE_KG * cos * cos) / TOTAL_KG));
    const acceleration = shared - (MOMENT * angleAcceleration * cos) / TOTAL_KG;
    const tau = CartPole.step_s;
    this.state = [
      x + tau * xDot,
      xDot + tau * acceleration,
      angle + tau * angleDot,
      angleDot + tau * angleAcceleration,
    ];
    return { reward: 1, ended: Math.abs(this.state[0]) > EDGE_M || Math.abs(this.state[2]) > MOST_TILT };
  }

  /** @param {number} change of the pole's angular velocity; positive to the right */
  push(change) {
    this.state[3] += change;
  }

  /** The tip of the pole, as parts of the stage: to the right of its middle, and above the track. */
  get tip() {
    const [x, , angle] = this.state;
    return { x: x + 2 * HALF_LENGTH_M * Math.sin(angle), y: 2 * HALF_LENGTH_M * Math.cos(angle) };
  }

  get words() {
    const [x, , angle] = this.state;
    return `cart at ${x.toFixed(2)} m, pole at ${((angle * 180) / Math.PI).toFixed(1)}°`;
  }
}
