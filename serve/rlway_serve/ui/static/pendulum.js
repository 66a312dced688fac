/**
 * Pendulum-v1, with the equations and numbers of gymnasium.
 *
 * In:      torques, or the numbers of discretised ones; pushes of a hand.
 * Out:     observations. An episode has no end of its own.
 */

import { actionsOf, isWhole } from "./spec.js";

const [MOST_SPEED, MOST_TORQUE, GRAVITY, MASS_KG, LENGTH_M] = [8, 2, 10, 1, 1];

export class Pendulum {
  static title = "Pendulum";
  static step_s = 0.05;
  static rewardOfStep = "0 at best, upright and at rest";
  static strength = { low: 0.5, high: 8, step: 0.5, value: 3, unit: "rad/s" };

  /** @param {import("./spec.js").Manifest} manifest */
  static fits({ env, observation, action, action_values, frame_stack = 1 }) {
    const [spec] = observation;
    const isOne = !Array.isArray(action) && action.shape.every((length) => length === 1);
    const hasTorque = isOne && (isWhole(action) ? Boolean(action_values) : action.shape.length === 1);
    const isVector = observation.length === 1 && spec.shape.length === 1 && spec.shape[0] === 3;
    return (env === null || env === "Pendulum-v1") && hasTorque && isVector && frame_stack === 1;
  }

  /** @param {import("./spec.js").Manifest} manifest */
  constructor(manifest) {
    const [action] = actionsOf(manifest);
    this.torques = isWhole(action) ? (manifest.action_values ?? null) : null;
    this.first = Number(action.minimum ?? 0);
    this.state = [0, 0]; // the angle from upright [rad], its velocity
    this.force = 0;
    this.reset();
  }

  /** Begins an episode anywhere. */
  reset() {
    this.state = [(Math.random() * 2 - 1) * Math.PI, Math.random() * 2 - 1];
    this.force = 0;
  }

  get observation() {
    const [angle, speed] = this.state;
    return [Math.cos(angle), Math.sin(angle), speed];
  }

  /**
   * @param {number | ArrayLike<number>} action
   * @returns {{reward: number, ended: boolean}}
   */
  step(action) {
    const given = Number(typeof action === "object" ? action[0] : action);
    const [angle, speed] = this.state;
    const torque = clip(this.torques ? this.torques[given - this.first] : given, MOST_TORQUE);
    const reward = -(normalised(angle) ** 2 + 0.1 * speed ** 2 + 0.001 * torque ** 2);
    const pull = ((3 * GRAVITY) / (2 * LENGTH_M)) * Math.sin(angle) + (3 / (MASS_KG * LENGTH_M ** 2)) * torque;
    const faster = clip(speed + pull * Pendulum.step_s, MOST_SPEED);
    this.state = [angle + faster * Pendulum.step_s, faster];
    this.force = torque;
    return { reward, ended: false };
  }

  /** @param {number} change of the angular velocity; positive to the right while upright */
  push(change) {
    const [angle, speed] = this.state;
    this.state[1] = clip(speed + (Math.cos(angle) < 0 ? -change : change), MOST_SPEED);
  }

  /** The tip of the rod, from its pivot. */
  get tip() {
    const [angle] = this.state;
    return { x: LENGTH_M * Math.sin(angle), y: LENGTH_M * Math.cos(angle) };
  }

  get words() {
    const [angle, speed] = this.state;
    return `rod at ${((normalised(angle) * 180) / Math.PI).toFixed(0)}° from upright, ${speed.toFixed(1)} rad/s`;
  }
}

/** @param {number} value @param {number} most */
const clip = (value, most) => Math.min(most, Math.max(-most, value));

/** @param {number} angle from −π to π */
const normalised = (angle) => ((((angle + Math.PI) % (2 * Math.PI)) + 2 * Math.PI) % (2 * Math.PI)) - Math.PI;
