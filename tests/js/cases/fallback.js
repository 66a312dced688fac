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
import { PolicyClient, PolicyStream } from "../patient.js";

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
  const other = await policy.ask([1, 0, 0]); // which the server refuses, and not its client
  equal([other.action, other.source, other.reason], [1, "hold", "observation: expected float32[4], got 3 elements"]);
  equal([policy.state, policy.counts.changes], ["server", 0]); // which is not the server's fault
}

export async function anOldObservationIsNotSent({ url, bundles }) {
  const local = await EdgePolicy.open(`${bundles}/linear/1`);
  const policy = new FallbackPolicy(new PolicyClient(url, "linear"), local, { withinMs: 20 });
  const reply = await policy.ask(LEFT, { takenMs: performance.now() - 30 });
  equal([reply.source, reply.reason], ["local", "the observation was more than 20 ms old."]);
  equal(policy.state, "server");
}

/** Waits until no probe is under way; all have to be good. */
async function untilProbed({ counts }) {
  while (counts.goodProbes < counts.probes) await new Promise((resolve) => setTimeout(resolve, 1));
}

export async function aRecurrentPolicyKeepsItsEpisode({ network, bundles, runtime, wish }) {
  const remote = new PolicyClient(network, "summing", { episode: `fallback-${runtime}` });
  const local = await EdgePolicy.open(`${bundles}/summing/1`);
  const policy = new FallbackPolicy(remote, local, { withinMs: WITHIN_MS, probeMs: 0 });
  const step = async (x) => {
    const { action, source } = await policy.ask([x, 0, 0, 0]);
    await untilProbed(policy);
    return [action, source];
  };
  equal(await step(1), [0, "server"]);
  await wish("cut");
  equal(await step(-0.5), [0, "local"]); // the sum is 0.5 here, too
  await wish("mend");
  equal(await step(-1), [1, "local"]);
  policy.reset();
  while (policy.state === "local") equal(await step(-0.1), [1, "local"]); // the sum stays below zero
  ok(policy.counts.local <= 5, "the server to be taken back at once: it has seen every step of this episode");
  equal(await step(-0.5), [1, "server"]);
  equal(await step(1.5), [0, "server"]); // the sum is above zero: both took every step
}

export async function aServerIsTakenBackWithinAnEpisodeOnceItIsWarm({ network, bundles, runtime, wish }) {
  for (const remote of [
    new PolicyClient(network, "summing", { episode: `warm-${runtime}` }),
    new PolicyStream(network, "summing"),
  ]) {
    const local = await EdgePolicy.open(`${bundles}/summing/1`);
    const policy = new FallbackPolicy(remote, local, { withinMs: WITHIN_MS, probeMs: 0 });
    const row = new Float32Array(4);
    const sourceFor = async (x) => {
      row.set([x, 0, 0, 0]);
      const { source } = await policy.ask(row);
      row.fill(9); // which no probe may send
      await untilProbed(policy);
      return source;
    };
    equal(await sourceFor(30), "server");
    await wish("cut");
    equal(await sourceFor(0), "local");
    await wish("mend");
    for (let i = 0; i < 5; i++) equal(await sourceFor(0), "local");
    await Promise.all([policy.ask([0, 0, 0, 0]), policy.ask([0, 0, 0, 0])]); // the second is not sent: a gap
    await untilProbed(policy);
    const { goodProbes } = policy.counts;
    while (policy.state === "local") equal(await sourceFor(-1), "local");
    equal(policy.counts.goodProbes - goodProbes, 16);
    const { action, source } = await policy.ask([0, 0, 0, 0]);
    equal([action, source], [1, "server"]); // the sum is −16 there: of the last steps. It is 14 here.
    policy.reset();
    equal(await sourceFor(1), "server");
    await policy.close();
  }
}

export async function noChangeOfSidesIsAJump({ network, bundles, wish }) {
  const remote = new PolicyClient(network, "gaussian"); // without a guard: what limits its actions is here
  const local = await EdgePolicy.open(`${bundles}/slow/1`);
  const policy = new FallbackPolicy(remote, local, { withinMs: WITHIN_MS, probeMs: 0 });
  const ask = async (x) => {
    const { action, source, guarded } = await policy.ask([x, 0, 0, 0]);
    await untilProbed(policy);
    return [source, action[0], guarded];
  };
  const limited = { action: ["too_fast"] };
  equal(await ask(20), ["server", 2, {}]);
  await wish("cut");
  equal(await ask(0), ["local", 1.75, limited]);
  await wish("mend");
  for (let action = 1.5; action > 0; action -= 0.25) equal(await ask(0), ["local", action, limited]);
  while (policy.state === "local") equal(await ask(0), ["local", 0, {}]);
  equal(await ask(20), ["server", 0.25, limited]);
  equal(await ask(20), ["server", 0.5, limited]);
  equal(await ask(0), ["server", 0.25, limited]);
  equal(await ask(0), ["server", 0, {}]); // its own guard, if it had one, would know this action
  equal(await ask(20), ["server", 2, {}]);
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
