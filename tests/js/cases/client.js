/** PolicyClient: actions over HTTP. */

import * as rlway from "../../../clients/js/src/index.js";
import { equal, ok, refuses } from "../assert.js";
import { PolicyClient } from "../patient.js";

export async function anObservationGetsItsAction({ url }) {
  const policy = new PolicyClient(url, "linear");
  equal(await policy.act([1, 0, 0, 0]), 0);
  equal(await policy.act([-1, 0, 0, 0]), 1);
  equal(await new PolicyClient(url).act([-1, 0, 0, 0]), 1); // the default policy
}

export async function anActionHasTheTypeThatTheSpecSays({ url }) {
  const whole = await new PolicyClient(url, "gaussian").act([0, 0, 0, 0]);
  equal(whole, Float32Array.of(0, 0)); // though JSON.parse cannot tell 0.0 from 0
  const action = await new PolicyClient(url, "steered").act([1, 0, 0, 0]);
  equal(action, { gear: 0, wheel: { steer: Float32Array.of(0.5, 0) } });
  equal(await new PolicyClient(url, "steered-tuple").act([1, 0, 0, 0]), [0, Float32Array.of(0.5, 0)]);
}

export async function wholeNumbersBeyondDoublePrecisionStayExact({ url }) {
  const policy = new PolicyClient(url, "echo");
  const large = 2n ** 53n + 1n;
  const expected = { places: BigInt64Array.of(large, 0n, -large, 3n), sum: BigInt64Array.of(0n, 3n) };
  equal(await policy.act([[large, 0], [-large, 3]]), expected); // prettier-ignore
  equal(await policy.act(expected.places), expected);
  const { action } = await policy.ask(expected.places, { deadlineMs: 10_000 }); // in JSON
  equal(action, expected);
}

export async function rawRowsGiveTheSameAsJson({ url }) {
  for (const name of ["linear", "gaussian", "steered", "steered-tuple"]) {
    const policy = new PolicyClient(url, name);
    for (const row of [Float32Array.of(1, -2, 0.5, 3), Float32Array.of(-1, 0.25, 0.5, 0)]) {
      equal(await policy.act(row), await policy.act(Array.from(row)));
    }
    const rows = Float32Array.of(1, -2, 0.5, 3, -1, 0.25, 0.5, 0);
    const nested = [Array.from(rows.subarray(0, 4)), rows.subarray(4)];
    equal(await policy.actBatch(rows), await policy.actBatch(nested));
    equal((await policy.ask(rows.subarray(0, 4))).version, 1);
  }
}

export async function objectsTypedArraysAndFlagsAreObservations({ url }) {
  const policy = new PolicyClient(url, "robot");
  const nested = { camera: [255, 0], joints: { arm: [1, 0, 0] } };
  const typed = { camera: Uint8Array.of(255, 0), joints: { arm: Float32Array.of(1, 0, 0) } };
  const asked = { outputs: ["q_values"] };
  const expected = {
    action: 0,
    version: 1,
    outputs: { q_values: Float32Array.of(3.549999952316284, -1) },
    guarded: {},
  };
  equal(await policy.ask(nested, asked), expected);
  equal(await policy.ask(typed, asked), expected);
  equal(await policy.act({ camera: [true, false], joints: { arm: [0, 0, true] } }), 0); // 1 and 0
}

export async function valuesByNameReachTheServer({ url, sentences }) {
  const policy = new PolicyClient(url, "named");
  const row = (hip) => ({ toe: 0, hip, ankle: false, knee: 0 });
  equal([await policy.act(row(1)), await policy.act(row(-1))], [0, 1]);
  equal(await policy.actBatch([row(1), [-1, 0, 0, 0], Float32Array.of(1, 0, 0, 0)]), [0, 1, 0]);
  equal(await policy.act(Float32Array.of(-1, 0, 0, 0)), 1); // as octets
  const robot = { camera: [0, 0], joints: { arm: { ankle: 0, knee: 0, hip: -1 } } };
  equal(await new PolicyClient(url, "named-robot").act(robot), 1);
  const large = 2n ** 53n + 1n;
  const grid = await new PolicyClient(url, "named-grid").act({ toe: 4, ankle: large, knee: 2, hip: 1 });
  equal(grid.places, BigInt64Array.of(1n, 2n, large, 4n));
  const nan = policy.act({ ...row(1), knee: NaN });
  await refuses(nan, rlway.SpecViolated, 'observation["knee"]: expected a finite number, got NaN');
  await refuses(policy.act({ hip: 1, knee: 2, heel: 3, toe: 4 }), rlway.SpecViolated, sentences.name);
}

export async function aBatchGivesAnActionForEachRow({ url }) {
  const policy = new PolicyClient(url, "robot");
  const rows = [1, -1].map((arm) => ({ camera: [0, 0], joints: { arm: [arm, 0, 0] } }));
  equal(await policy.actBatch(rows), [0, 1]);
  const reply = await policy.ask(rows, { batched: true, outputs: ["q_values"] });
  equal(reply.outputs.q_values, [Float32Array.of(1, -1), Float32Array.of(-1, 1)]);
}

export async function aSeedGivesTheSameSampledActionAgain({ url }) {
  const policy = new PolicyClient(url, "gaussian");
  const draw = (seed) => policy.act([0, 0, 0, 0], { explore: { sigma: 1 }, seed });
  equal(await draw(7), await draw(7));
  ok(String(await draw(8)) !== String(await draw(7)), "another seed to give another action");
}

export async function anEpisodeKeepsItsStateUntilReset({ url, runtime }) {
  const policy = new PolicyClient(url, "summing", { episode: `http-${runtime}` });
  equal(await policy.act([1, 0, 0, 0]), 0);
  equal(await policy.act([-0.5, 0, 0, 0]), 0); // the sum is 0.5
  policy.reset();
  equal(await policy.act([-0.5, 0, 0, 0]), 1);
  const before = policy.act([5, 0, 0, 0]);
  policy.reset(); // while the action is under way
  await before;
  equal(await policy.act([-0.5, 0, 0, 0]), 1);
  await refuses(new PolicyClient(url, "summing").act([1, 0, 0, 0]), rlway.SpecViolated, /episode/);
}

export async function aReplyTellsWhatTheGuardChanged({ url }) {
  const policy = new PolicyClient(url, "bounded");
  const [rules, most] = [{ action: ["out_of_range"] }, Float32Array.of(1.25, -1.25)];
  const [still, far] = [[0, 0, 0, 0], [1, 0, 0, 0]]; // prettier-ignore
  for (const row of [far, Float32Array.from(far)]) {
    equal(await policy.ask(row), { action: most, version: 1, outputs: {}, guarded: rules }); // in a header with octets
  }
  equal((await policy.ask(still)).guarded, {});
  equal((await policy.ask(Float32Array.from(still))).guarded, {});
  equal((await policy.ask([still, far], { batched: true })).guarded, [{}, rules]);
  equal((await policy.ask([still, still], { batched: true })).guarded, []);
  equal((await policy.ask(Float32Array.of(...still, ...far), { batched: true })).guarded, rules); // of both together
  const sentence =
    /^action\[0\]: the guard refuses an action that is out_of_range: expected -1\.25 to 1\.25, got 1\.52319\.$/;
  const error = await refuses(new PolicyClient(url, "refusing").act(far), rlway.ActionRefused, sentence);
  equal([error.name, error.reported], ["ActionRefused", true]);
}

export async function limitsOfChangesNeedAnEpisode({ url, runtime }) {
  const alone = new PolicyClient(url, "slow");
  await refuses(alone.act([0, 0, 0, 0]), rlway.SpecViolated, /episode/);
  ok(alone.needsEpisode, "the client to know it");
  const policy = new PolicyClient(url, "slow", { episode: `slow-${runtime}` });
  equal(await policy.act([0, 0, 0, 0]), Float32Array.of(0, 0));
  const step = { action: Float32Array.of(0.25, -0.25), version: 1, outputs: {}, guarded: { action: ["too_fast"] } };
  equal(await policy.ask([1, 0, 0, 0]), step);
  policy.reset();
  equal((await policy.ask([1, 0, 0, 0])).guarded, {});
}

export async function aStepThatMayStillArriveIsOfAnotherEpisode({ url, runtime, wish }) {
  const episode = `lost-${runtime}`;
  const policy = new PolicyClient(url, "summing", { episode });
  equal(await policy.act([1, 0, 0, 0]), 0);
  await wish("freeze");
  await refuses(policy.ask([1, 0, 0, 0], { timeoutMs: 100 }), rlway.ServerUnreachable, /no answer within 0\.1 s\.$/);
  policy.reset();
  await wish("thaw");
  equal(await policy.act([-0.5, 0, 0, 0]), 1);
  equal((await policy.ask([-0.75, 0, 0, 0], { episode, first: false })).action, 0); // 0.25 there, or 1.25
  equal(await policy.act([-0.5, 0, 0, 0]), 1);
}

export async function whatIsNotFiniteIsRefusedBeforeItIsSent({ url }) {
  const sentence = "observation[2]: expected a finite number, got NaN";
  const policy = new PolicyClient(url, "linear");
  await policy.describe();
  await refuses(policy.act([0, 0, NaN, 0]), rlway.SpecViolated, sentence);
  const error = await refuses(policy.act(Float32Array.of(0, 0, NaN, 0)), rlway.SpecViolated, sentence);
  equal(error.faults, [{ path: "observation[2]", expected: "a finite number", got: "NaN" }]);
  equal(error.reported, false);
  const rows = new Float32Array(8).fill(-Infinity, 6, 7);
  await refuses(
    policy.actBatch(rows),
    rlway.SpecViolated,
    "observations[1][2]: expected a finite number, got -Infinity",
  );
  const late = policy.act([0, 0, 0, 0], { timeStep: { reward: Infinity } });
  await refuses(late, rlway.SpecViolated, "time_step.reward: expected a finite number, got Infinity");
  await refuses(policy.act("left"), rlway.SpecViolated, "observation: expected an array of numbers, got a string");
}

export async function theServersRefusalsAreErrorsOfTheirClass({ url, sentences }) {
  const policy = new PolicyClient(url, "linear");
  const violated = await refuses(policy.act([1, 0, 0]), rlway.SpecViolated, sentences.shape);
  equal([violated.name, violated.reported, violated.faults.length], ["SpecViolated", true, 1]);
  await refuses(new PolicyClient(url, "walker").act([1]), rlway.NotFound, sentences.policy);
  await refuses(policy.ask([1, 0, 0, 0], { version: 9 }), rlway.NotFound, sentences.version);
  await refuses(policy.act([1, 0, 0, 0], { explore: { sigma: 1 } }), rlway.SpecViolated, sentences.explore);
  await refuses(policy.act(Float32Array.of(1, 0, 0)), rlway.SpecViolated, sentences.shape);
}

export async function keysAreSentAndTheirRefusalsTold({ keyed }) {
  equal(await new PolicyClient(keyed, "linear", { key: "secret" }).act([1, 0, 0, 0]), 0);
  await refuses(new PolicyClient(keyed, "linear").act([1, 0, 0, 0]), rlway.KeyMissing, /key/);
  await refuses(new PolicyClient(keyed, "linear", { key: "wrong" }).act([1, 0, 0, 0]), rlway.KeyRefused, /key/);
  const odd = async () => new PolicyClient(keyed, "linear", { key: "two\nlines" });
  await refuses(odd(), rlway.UsageError, "API key: expected printable ASCII on one line.");
}

export async function aServerThatIsNotThereIsToldInOneSentence({ nobody }) {
  await refuses(
    new PolicyClient(nobody).act([1]),
    rlway.ServerUnreachable,
    /^http:.* no policy server answers there: .*\.$/,
  );
  const odd = async () => new PolicyClient("ftp://127.0.0.1");
  await refuses(odd(), rlway.UsageError, "URL 'ftp://127.0.0.1': expected http://HOST:PORT or https://HOST:PORT.");
}

export async function aFrozenServerIsGivenUpInTime({ url, wish }) {
  const policy = new PolicyClient(url, "linear", { timeoutMs: 300 });
  await policy.describe();
  await wish("freeze");
  await refuses(policy.act([1, 0, 0, 0]), rlway.ServerUnreachable, `${url}: no answer within 0.3 s.`);
  await wish("thaw");
  equal(await policy.ask([-1, 0, 0, 0], { timeoutMs: 20_000 }), { action: 1, version: 1, outputs: {}, guarded: {} });
}

export async function aNewVersionWithOtherTensorsIsReadAsItIs({ url, runtime, wish }) {
  const policy = new PolicyClient(url, `changing-${runtime}`);
  equal(await policy.act(Float32Array.of(1, 0, 0, 0)), 0);
  await wish(`change-${runtime}`); // the same name, now with two numbers as the action, of as many octets
  equal(await policy.act(Float32Array.of(0, 0, 0, 0)), Float32Array.of(0, 0));
  equal(policy.manifest.version, 2);
}
