/**
 * Whether a server's policy and the local one take and give the same tensors.
 *
 * In:      their manifests; a server's reply.
 * Out:     nothing.
 * Refuses: other tensors than those of the local policy (UsageError).
 */

import { UsageError } from "../contract/errors.js";
import { grow, readObservation } from "../contract/nesting.js";

/** @typedef {import("../contract/manifest.js").Manifest} Manifest */

/**
 * @param {Manifest} local
 * @param {Manifest} remote
 */
export function checkTensors(local, remote) {
  const [mine, theirs] = [local, remote].map(({ policy, observation, action, state }) =>
    JSON.stringify([
      policy,
      ...[observation, action, state].map((specs) =>
        [specs].flat().map(({ name, shape, dtype, path }) => [name, shape, dtype, path]),
      ),
    ]),
  );
  if (mine === theirs) return;
  const [expected, got] = [`${remote.policy} v${remote.version}`, `${local.policy} v${local.version}`];
  throw new UsageError(
    `local policy: expected the tensors of ${expected} on the server, got others, of ${got}; open that bundle.`,
  );
}

/**
 * @param {import("../contract/policy.js").Reply} reply of the server
 * @param {Manifest | null | undefined} local
 */
export function checkAction({ action, version }, local) {
  if (!local) return;
  try {
    readObservation(action, grow([local.action].flat()), "action");
  } catch {
    throw new UsageError(`the server's version ${version} gives actions of other tensors than the local policy.`);
  }
}
