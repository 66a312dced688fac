/**
 * What every policy offers to a loop over an environment, wherever its model runs.
 *
 * `PolicyClient` and `PolicyStream` ask a server, `EdgePolicy` runs the model in this process, and `FallbackPolicy`
 * takes the first and falls back to the second.
 */

/** @typedef {import("./nesting.js").Observation} Observation */
/** @typedef {import("./nesting.js").Action} Action */

/**
 * @typedef {object} ActOptions
 * @property {import("./exploration.js").Explore} [explore] how to sample; by default what the manifest says
 * @property {number} [seed] the same seed and observation give the same sampled action
 * @property {import("./time_step.js").TimeStep} [timeStep] what the policy reads besides the observation
 */

/**
 * @typedef {object} PolicyLike
 * @property {(observation: Observation, options?: ActOptions) => Promise<Action>} act the action for one observation
 * @property {() => void} reset begins an episode with the next action; a policy without state has nothing to do
 * @property {import("./manifest.js").Manifest | null} [manifest] null until it is known
 */

export {};
