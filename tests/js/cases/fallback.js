/** FallbackPolicy: an action by the deadline, whatever the server does. */

import {
  EdgePolicy,
  FallbackPolicy,
  ServerUnreachable,
  SpecViolated,
  UsageError,
} from "../../../clients/js/src/index.js";
import { Probation } from "../../../clients/js/src/fallback/probation.js";
import { equal, ok, refuses } from "../assert.js";
import { PolicyClient } from "../patient.js";

const LEFT = [-1, 0, 0, 0]; // action 1
const RIGHT = [1, 0, 0, 0]; // action 0
const WITHIN_MS = 20_000; // in which a server that runs answers also on a busy machine

/** Acts until the server answers again. */
async function untilServer(policy) {
  for (;;) {
    const reply = await policy.ask(LEFT);
    equal(reply.action, 1);
    if (reply.source === "server") return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export async function aFrozenServersActionIsTheLocalOne({ url, bundles, wish }) {
  const changes = [];
  const local = await EdgePolicy.open(`${bundles}/linear/1`);
  const options = { withinMs: WITHIN_MS, probeMs: 1, onChange: (change) => changes.push(change.state) };
  const policy = new FallbackPolicy(new PolicyClient(url, "linear"), local, options);
  equal(await policy.check(), { server: 1, local: 1 });
  equal(await policy.ask(LEFT), { action: 1, version: 1, outputs: {}, guarded: {}, source: "server", reason: "" });
  await wish("freeze");
  const began = performance.now();
  const late = await policy.ask(RIGHT, { takenMs: began - WITHIN_MS + 50 }); // 50 ms are left
  equal([late.action, late.source, late.version], [0, "local", 1]);
  ok(/no answer within .* s\.$/.test(late.reason), `a reason, got ${late.reason}`);
  ok(performance.now() - began < WITHIN_MS, "the deadline to count from when the observation was taken");
  for (let i = 0; i < 5; i++) equal((await policy.ask(LEFT)).source, "local"); // at once: nothing is waited for
  equal(policy.state, "local");
  await wish("thaw");
  await untilServer(policy); // whose answers to earlier observations are not taken for this one
  const { counts } = policy;
  equal(changes, ["local", "server"]);
  ok(counts.goodProbes >= 3 && counts.local >= 6 && counts.changes === 2, `the counts, got ${JSON.stringify(counts)}`);
}

export async function aServerThatIsGoneOrRefusesHasTheLocalAction({ nobody, url, bundles }) {
  const local = await EdgePolicy.open(`${bundles}/linear/1`);
  const gone = await new FallbackPolicy(new PolicyClient(nobody, "linear"), local, { withinMs: WITHIN_MS }).ask(LEFT);
  equal([gone.action, gone.source], [1, "local"]);
  ok(/no policy server answers there/.test(gone.reason), "a reason");
  const unknown = new FallbackPolicy(new PolicyClient(url, "walker"), local, { withinMs: WITHIN_MS });
  const reply = await unknown.ask(LEFT);
  equal([reply.action, reply.source], [1, "local"]);
  ok(/walker/.test(reply.reason), "the server's sentence");
}

export async function aRestartedServerIsTakenBack({ keyed, wish }) {
  const remote = new PolicyClient(keyed, "linear", { key: "secret" });
  const policy = new FallbackPolicy(remote, 1, { withinMs: WITHIN_MS, probeMs: 1 });
  equal((await policy.ask(RIGHT)).source, "server");
  await wish("stop");
  const reply = await policy.ask(RIGHT);
  equal([reply.action, reply.source, reply.version], [1, "action", null]);
  await wish("restart");
  await untilServer(policy);
}

export async function holdRepeatsTheLastAction({ network, nobody, wish }) {
  const policy = new FallbackPolicy(new PolicyClient(network, "linear"), "hold", { withinMs: WITHIN_MS });
  await policy.act(LEFT);
  await wish("cut");
  const reply = await policy.ask(RIGHT);
  equal([reply.action, reply.source], [1, "hold"]);
  await wish("mend");
  const early = new FallbackPolicy(new PolicyClient(nobody, "linear"), "hold", { withinMs: WITHIN_MS });
  await refuses(
    early.ask(LEFT),
    ServerUnreachable,
    /^no action to hold yet, and none from the server: .*no policy server/,
  );
}

export async function anObservationThatFitsNobodyHoldsTheLastAction({ url, bundles }) {
  const local = await EdgePolicy.open(`${bundles}/linear/1`);
  const policy = new FallbackPolicy(new PolicyClient(url, "linear"), local, { withinMs: WITHIN_MS });
  await refuses(policy.act([NaN, 0, 0, 0]), SpecViolated, "observation[0]: expected finite float32, got NaN");
  await policy.act(LEFT);
  const reply = await policy.ask([NaN, 0, 0, 0]);
  equal([reply.action, reply.source, reply.reason], [1, "hold", "observation[0]: expected finite float32, got NaN"]);
  equal([policy.state, policy.counts.changes], ["server", 0]); // which is not the server's fault
}

export async function anOldObservationIsNotSent({ url, bundles }) {
  const local = await EdgePolicy.open(`${bundles}/linear/1`);
  const policy = new FallbackPolicy(new PolicyClient(url, "linear"), local, { withinMs: 20 });
  const reply = await policy.ask(LEFT, { takenMs: performance.now() - 30 });
  equal([reply.source, reply.reason], ["local", "the observation was more than 20 ms old."]);
  equal(policy.state, "server");
}

export async function aRecurrentPolicyKeepsItsEpisode({ network, bundles, runtime, wish }) {
  const remote = new PolicyClient(network, "summing", { episode: `fallback-${runtime}` });
  const local = await EdgePolicy.open(`${bundles}/summing/1`);
  const policy = new FallbackPolicy(remote, local, { withinMs: WITHIN_MS });
  const step = async (x) => {
    const { action, source } = await policy.ask([x, 0, 0, 0]);
    return [action, source];
  };
  equal(await step(1), [0, "server"]);
  await wish("cut");
  equal(await step(-0.5), [0, "local"]); // the sum is 0.5 here, too
  await wish("mend");
  equal(await step(-1), [1, "local"]);
  equal(policy.counts.probes, 0); // the server's state cannot be that of this episode
  policy.reset();
  for (const x of [-0.5, 0.25, -0.25]) {
    equal(await step(x), [1, "local"]); // the sum stays below zero
    while (policy.counts.goodProbes < policy.counts.probes) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  equal(await step(-0.5), [1, "server"]);
  equal(await step(1.5), [0, "server"]); // the sum is 0.5: both took every step
}

export async function aLocalPolicyOfOtherTensorsIsTold({ url, bundles }) {
  const local = await EdgePolicy.open(`${bundles}/gaussian/1`);
  const policy = new FallbackPolicy(new PolicyClient(url, "linear"), local, { withinMs: WITHIN_MS });
  const sentence =
    "local policy: expected the tensors of linear v1 on the server, got others, of gaussian v1; open that bundle.";
  await refuses(policy.check(), UsageError, sentence);
}

export async function eachRelapseDoublesTheProbesThatAreNeeded() {
  const probation = new Probation(3, 1000);
  const probesUntilTrusted = (nowMs) => {
    probation.fail(nowMs);
    let probes = 0;
    for (; !probation.isTrusted; probes++) probation.succeed(nowMs);
    return probes;
  };
  equal([0, 10, 20, 30, 40, 50, 60].map(probesUntilTrusted), [3, 6, 12, 24, 48, 64, 64]);
  equal(probesUntilTrusted(1059), 64); // within a second since the last time
  equal(probesUntilTrusted(2060), 3);
  probation.fail(2060);
  for (const answer of ["succeed", "succeed", "fail", "succeed", "succeed"]) probation[answer](2070);
  ok(!probation.isTrusted, "good answers to count in a row");
}
