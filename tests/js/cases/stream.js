/** PolicyStream: actions over a WebSocket. */

import * as rlway from "../../../clients/js/src/index.js";
import { equal, refuses } from "../assert.js";
import { PolicyStream } from "../patient.js";

export async function severalRequestsUnderWayAreAnsweredInOrder({ url }) {
  for (const raw of [false, true]) {
    const policy = new PolicyStream(url, "linear", { raw });
    const signs = Array.from({ length: 200 }, (_, i) => (i % 3 ? 1 : -1));
    const rows = signs.map((sign) => Float32Array.of(sign, 0, 0, 0));
    const actions = await Promise.all(rows.map((row) => policy.act(row)));
    equal(actions, signs.map((sign) => Number(sign < 0))); // prettier-ignore
    equal(await policy.actBatch(Float32Array.of(1, 0, 0, 0, -1, 0, 0, 0)), [0, 1]);
    equal(await policy.ask([1, 0, 0, 0]), { action: 0, version: 1, outputs: {}, guarded: {} });
    equal((await policy.ask(rows[0])).version, raw ? null : 1);
    await policy.close();
  }
}

export async function valuesByNameReachTheServerInFrames({ url, sentences }) {
  for (const raw of [false, true]) {
    const policy = new PolicyStream(url, "named", { raw });
    const named = { toe: 0, hip: -1, ankle: 0, knee: 0 };
    const rows = [named, Float32Array.of(1, 0, 0, 0), [1, 0, 0, 0], { ...named, hip: 1 }];
    equal(await Promise.all(rows.map((row) => policy.act(row))), [1, 0, 0, 0]);
    equal(await policy.actBatch(rows), [1, 0, 0, 0]);
    await refuses(policy.act({ hip: 1, knee: 2, heel: 3, toe: 4 }), rlway.SpecViolated, sentences.name);
    await policy.close();
  }
}

export async function aRefusedFrameLeavesTheOthersAlone({ url, sentences }) {
  const policy = new PolicyStream(url, "linear", { raw: true });
  const [first, second, third] = [[-1, 0, 0, 0], [1, 0, 0], Float32Array.of(-1, 0, 0, 0)].map((row) => policy.act(row));
  await refuses(second, rlway.SpecViolated, sentences.shape);
  equal([await first, await third], [1, 1]);
  await refuses(policy.act([NaN, 0, 0, 0]), rlway.SpecViolated, "observation[0]: expected a finite number, got NaN");
  equal(await policy.act([-1, 0, 0, 0]), 1);
  await policy.close();
}

export async function aConnectionIsAnEpisode({ url }) {
  for (const raw of [false, true]) {
    const policy = new PolicyStream(url, "summing", { raw });
    const act = (x) => policy.act(Float32Array.of(x, 0, 0, 0));
    equal(await Promise.all([act(1), act(-0.5)]), [0, 0]); // the sum is 0.5
    policy.reset();
    equal(await Promise.all([act(-0.5), act(0.25)]), [1, 1]); // −0.5, then −0.25
    policy.reset();
    await refuses(policy.act([1, 0]), rlway.SpecViolated, /observation/); // so the episode has not begun
    equal(await act(-0.02), 0); // −0.02 of itself, and −0.27 if the old one went on
    await policy.close();
  }
}

export async function theGuardLimitsChangesWithinAStreamsEpisode({ url }) {
  for (const raw of [false, true]) {
    const policy = new PolicyStream(url, "slow", { raw });
    equal(await policy.act(Float32Array.of(0, 0, 0, 0)), Float32Array.of(0, 0));
    const { action, guarded } = await policy.ask(Float32Array.of(1, 0, 0, 0));
    equal([action, guarded], [Float32Array.of(0.25, -0.25), raw ? null : { action: ["too_fast"] }]);
    policy.reset();
    equal((await policy.ask([1, 0, 0, 0])).guarded, {}); // an episode begins: there is no action before
    await policy.close();
  }
}

export async function theEndOfAConnectionRejectsWhatWaits({ network, wish }) {
  const policy = new PolicyStream(network, "linear");
  equal(await policy.act([1, 0, 0, 0]), 0);
  await wish("freeze");
  const waiting = [policy.act([1, 0, 0, 0]), policy.act([1, 0, 0, 0])];
  waiting.forEach((one) => one.catch(() => {})); // looked at below
  await wish("cut");
  await wish("thaw");
  for (const one of waiting)
    await refuses(one, rlway.ServerUnreachable, /: no answer: the (stream closed with code \d+|connection failed)/);
  await refuses(policy.act([-1, 0, 0, 0]), rlway.ServerUnreachable, /: no policy server answers there: /);
  await wish("mend");
  equal(await policy.act([-1, 0, 0, 0]), 1); // over a new connection
  const last = policy.act([1, 0, 0, 0]);
  await policy.close();
  await refuses(last, rlway.ServerUnreachable, /the stream was closed by this program\.$/);
}

export async function aLostEpisodeIsTold({ network, wish }) {
  for (const name of ["summing", "slow"]) {
    const policy = new PolicyStream(network, name);
    await policy.act([1, 0, 0, 0]);
    await wish("cut");
    await wish("mend");
    await refuses(policy.act([1, 0, 0, 0]), rlway.ServerUnreachable, /: no answer: |call reset\(\)/); // it may not know yet
    await refuses(policy.act([1, 0, 0, 0]), rlway.ServerUnreachable, /call reset\(\) to begin the next one\.$/);
    policy.reset();
    equal(await policy.act([0, 0, 0, 0]), name === "slow" ? Float32Array.of(0, 0) : 0);
    await policy.close();
  }
}

export async function aLateAnswerIsNotTakenForTheNext({ url, wish }) {
  const policy = new PolicyStream(url, "linear");
  equal(await policy.act([1, 0, 0, 0]), 0);
  await wish("freeze");
  await refuses(policy.ask([1, 0, 0, 0], { timeoutMs: 100 }), rlway.ServerUnreachable, /no answer within 0\.1 s\.$/);
  const next = policy.act([-1, 0, 0, 0]);
  await wish("thaw");
  equal(await next, 1);
  await policy.close();
}

export async function whatNoStreamCanDoIsTold({ url, nobody, keyed, runtime }) {
  await refuses(new PolicyStream(url, "walker").act([1]), rlway.NotFound, /walker/);
  await refuses(new PolicyStream(nobody, "linear").act([1]), rlway.ServerUnreachable, /no policy server answers there/);
  const without = async () => new PolicyStream(url, "linear", { WebSocket: null });
  await refuses(without(), rlway.UsageError, /^WebSocket: expected one built in/);
  if (runtime === "chromium") {
    const odd = async () => new PolicyStream(keyed, "linear", { key: "secret" });
    await refuses(odd(), rlway.UsageError, "API key: a browser's WebSocket cannot send one; use PolicyClient.");
  } else {
    const policy = new PolicyStream(keyed, "linear", { key: "secret" });
    equal(await policy.act([-1, 0, 0, 0]), 1);
    await policy.close();
  }
}
