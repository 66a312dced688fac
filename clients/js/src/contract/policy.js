/**
 * What every policy offers to a loop over an environment, wherever its model runs.
 *
 * `PolicyClient` and `PolicyStream` ask a server, `EdgePolicy` runs the model in this process, and `FallbackPolicy`
 * takes the first and falls back to the second.
 */

/** @typedef {import("./nesting.js").Observation} Observation */
/** @typedef {import("./nesting.js").Action} Action */
/** @typedef {import("./guard.js").Violations} Violations */

/**
 * @typedef {object} ActOptions
 * @property {import("./exploration.js").Explore} [explore] how to sample; by default what the manifest says
 * @property {number} [seed] the same seed and observation give the same sampled action
 * @property {import("./time_step.js").TimeStep} [timeStep] what the policy reads besides the observation
 */

/**
 * What a policy answered to one observation, or to several.
 * @typedef {object} Reply
 * @property {Action} action for several observations, an array with an action for each
 * @property {number | null} version of the policy that answered; null where raw frames of a stream do not say
 * @property {Record<string, any>} outputs those that were asked for, by name; likewise
 * @property {Violations | Violations[] | null} guarded the rules of the policy's guard that its own action violated, by
 *   action tensor. Of several observations an array, which is empty if none was violated, or of a typed array one object
 *   for all; null where raw frames do not say.
 */

/**
 * @typedef {object} PolicyLike
 * @property {(observation: Observation, options?: ActOptions) => Promise<Action>} act the action for one observation
 * @property {() => void} reset begins an episode with the next action; a policy without state has nothing to do
 * @property {import("./manifest.js").Manifest | null} [manifest] null until it is known
 * @property {boolean} [needsEpisode] whether an action depends on the steps before it
 * @property {(observation: Observation, options?: ActOptions) => Promise<Reply>} [ask] as `act`, with the whole reply
 * @property {(action: Action) => void} [executed] as `EdgePolicy` has it, as well as `guard`
 * @property {(action: Action, before: Action | null, elapsedS: number) => {action: Action, guarded: Violations}} [guard]
 */

export {};
