/** EdgePolicy: model.onnx in onnxruntime-web. */

import * as rlway from "../../../clients/js/src/index.js";
import { equal, ok, refuses } from "../assert.js";
import { PolicyClient } from "../patient.js";

const { EdgePolicy } = rlway;

/** Numbers of an action in one list. */
const flat = (action) =>
  [action].flat(Infinity).flatMap((part) => (isNested(part) ? Object.values(part).flatMap(flat) : numbers(part)));
const isNested = (part) => typeof part === "object" && !ArrayBuffer.isView(part);
const numbers = (part) => (ArrayBuffer.isView(part) ? Array.from(part, Number) : [Number(part)]);

export async function everyPolicyActsAsInPython({ bundles, expected }) {
  ok(Object.keys(expected).length === 12, "twelve policies");
  for (const [name, rows] of Object.entries(expected)) {
    const policy = await EdgePolicy.open(`${bundles}/${name}/1`);
    for (const { observation, noise, action } of rows) {
      const found = flat(await policy.act(observation, noise ? { noise } : {}));
      const wanted = flat(action);
      const fits = found.length === wanted.length && found.every((x, i) => Math.abs(x - wanted[i]) <= 1e-5);
      ok(fits, `${name} to give ${wanted}, got ${found}`);
    }
    await policy.close();
  }
}

export async function theEdgeAndTheServerGiveTheSame({ url, bundles }) {
  for (const name of ["linear", "steered", "steered-tuple", "echo"]) {
    const [remote, local] = [new PolicyClient(url, name), await EdgePolicy.open(`${bundles}/${name}/1`)];
    const observation = name === "echo" ? BigInt64Array.of(1n, 2n ** 60n, 3n, -4n) : Float32Array.of(0.5, -2, 0.25, 4);
    equal(await local.act(observation), await remote.act(observation));
  }
}

export async function aLocalPolicyTakesValuesByName({ bundles }) {
  const policy = await EdgePolicy.open(`${bundles}/named/1`);
  equal(await policy.act({ toe: 0, hip: 1, ankle: 0, knee: 0 }), 0);
  equal(await policy.act({ toe: 0, hip: -1, ankle: false, knee: 0 }), 1);
  equal(await policy.act([-1, 0, 0, 0]), 1); // as before
  const nan = policy.act({ hip: 1, knee: NaN, ankle: 0, toe: 0 });
  await refuses(nan, rlway.SpecViolated, 'observation["knee"]: expected finite float32, got NaN'); // as in Python
  const robot = await EdgePolicy.open(`${bundles}/named-robot/1`);
  equal(await robot.act({ camera: [0, 0], joints: { arm: { ankle: 0, knee: 0, hip: -1 } } }), 1);
  const grid = await EdgePolicy.open(`${bundles}/named-grid/1`); // which echoes its observation, in row-major order
  const { places } = await grid.act({ toe: 4n, ankle: 2n ** 60n, knee: 2, hip: 1 });
  equal(places, BigInt64Array.of(1n, 2n, 2n ** 60n, 4n));
}

export async function actionsUnderWayAreStepsInOrder({ bundles }) {
  const policy = await EdgePolicy.open(`${bundles}/summing/1`);
  const row = Float32Array.of(1, 0, 0, 0);
  const first = policy.act(row);
  row[0] = -0.5; // the first action keeps what it was given
  const second = policy.act(row);
  policy.reset();
  equal([await first, await second, await policy.act(row)], [0, 0, 1]);
}

export async function explorationDrawsFromItsDistribution({ bundles }) {
  const discrete = await EdgePolicy.open(`${bundles}/linear/1`);
  const count = async (explore) => {
    const actions = [];
    for (let seed = 0; seed < 2000; seed++) actions.push(await discrete.act([0, 0, 0, 0], { explore, seed }));
    return actions.filter((action) => action === 1).length / actions.length;
  };
  // Q-values 0.1 and 0: softmax at temperature 1 takes the second with probability 0.475; ε-greedy with 0.4 · ½.
  ok(Math.abs((await count({ temperature: 1 })) - 0.475) < 0.05, "a share of 0.475");
  ok(Math.abs((await count({ epsilon: 0.4 })) - 0.2) < 0.04, "a share of 0.2");
  equal(await count({ temperature: 0 }), 0);
  const continuous = await EdgePolicy.open(`${bundles}/gaussian/1`);
  const draws = [];
  for (let seed = 0; seed < 2000; seed++) {
    const action = await continuous.act([0, 0, 0, 0], { explore: { sigma: 1 }, seed });
    draws.push(2 * Math.atanh(action[0] / 2)); // 0.5 · noise, by the policy's own formula
  }
  const variance = draws.reduce((sum, draw) => sum + draw * draw, 0) / draws.length;
  ok(Math.abs(variance - 1) < 0.12, `a variance of 1, got ${variance}`);
  const both = discrete.act([0, 0, 0, 0], { explore: { sigma: 1 } });
  await refuses(
    both,
    rlway.SpecViolated,
    "explore.sigma: expected epsilon or temperature for a discrete action, got sigma",
  );
}

export async function observationsThatDoNotFitAreRefusedAsInPython({ bundles, refusals }) {
  for (const { policy: name, observation, sentence } of refusals) {
    const policy = await EdgePolicy.open(`${bundles}/${name}/1`);
    await refuses(policy.act(observation), rlway.SpecViolated, sentence);
  }
  const policy = await EdgePolicy.open(`${bundles}/linear/1`);
  const nan = Float32Array.of(0, NaN, 0, Infinity);
  await refuses(policy.act(nan), rlway.SpecViolated, "observation[1]: expected finite float32, got NaN (and 1 more)");
  await refuses(
    policy.act([1e39, 0, 0, 0]),
    rlway.SpecViolated,
    /^observation\[0\]: expected finite float32, got 1e\+39/,
  );
  await refuses(
    policy.act([0, 0, 0, 0], { timeStep: { reward: 1 } }),
    rlway.SpecViolated,
    /^time_step.reward: expected nothing/,
  );
}

export async function aBundleThatIsNotWhatItSaysIsRefused({ faulty, runtime }) {
  const sentences = {
    schema: /manifest schema version 2 is not known here \(expected 1\)/,
    shape: /model\.onnx: input observation: expected float32\[1, 5\], as the manifest says, got float32\[1, 4\]\.$/,
    name: /model\.onnx: output values: expected float32\[1, 2\], as the manifest says, got none of the name\.$/,
    more: /model\.onnx: output q_values: the manifest has none of this name\.$/,
    unlisted: /model\.onnx: the manifest does not list it; export the policy with that format\.$/,
    names: /manifest\.json: observation\.names: expected 4, one per element, got 1; export the policy again\.$/,
    damaged: /model\.onnx: damaged: expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}; export the policy again\.$/,
    without: /without\/model\.onnx: cannot be read: .*\.$/,
    "guard/1": /guard\.json: actions\.action\.maximum: expected 0 to 1, the policy's bounds, got 9: never acts\.$/,
    "unguarded/1": /guard\.json: cannot be read: .*\.$/,
    nowhere: /nowhere\/manifest\.json: cannot be read: .*\.$/,
  };
  for (const [fault, sentence] of Object.entries(sentences)) {
    await refuses(EdgePolicy.open(`${faulty}/${fault}`), rlway.BundleInvalid, sentence);
  }
  if (runtime === "chromium") return; // there is no folder that could be looked into
  const stray = /guard\.json: not in the manifest, so it would not apply; export the policy with --guard\.$/;
  await refuses(EdgePolicy.open(`${faulty}/stray/1`), rlway.BundleInvalid, stray);
}
