/** The guard of a policy in this process: it gives what Python's gives, to the bit. */

import * as rlway from "../../../clients/js/src/index.js";
import { parseGuard } from "../../../clients/js/src/contract/guard.js";
import { DTYPES } from "../../../clients/js/src/contract/specs.js";
import { EdgeGuard } from "../../../clients/js/src/local/edge_guard.js";
import { equal, ok, refuses } from "../assert.js";

const { EdgePolicy } = rlway;

/** The tensors of an action from their octets. */
const rowsOf = (octets, specs) =>
  Object.fromEntries(
    specs.map(({ name, dtype }) => {
      const { buffer } = Uint8Array.from(atob(octets[name]), (letter) => letter.charCodeAt(0));
      return [name, new DTYPES[dtype].array(buffer)];
    }),
  );

/** The octets of an action's tensors. */
const octetsOf = (rows, specs) =>
  Object.fromEntries(
    specs.map(({ name }) => {
      const { buffer, byteOffset, byteLength } = rows[name];
      return [name, btoa(String.fromCharCode(...new Uint8Array(buffer, byteOffset, byteLength)))];
    }),
  );

export async function everyGuardedActionIsPythonsToTheBit({ guards }) {
  const counts = { given: 0, changed: 0, refused: 0, executed: 0 };
  for (const { specs, guard: text, steps } of guards.episodes) {
    let nowS = 0;
    const guard = new EdgeGuard(parseGuard(text, "guard.json", specs), () => nowS);
    for (const { first, now_s, rows, given, refused, violated, executed } of steps) {
      if (first) guard.reset();
      nowS = Number(now_s);
      const step = async () => guard.apply(rowsOf(rows, specs));
      if (refused) await refuses(step(), rlway.ActionRefused, refused);
      else equal(octetsOf(await step(), specs), given);
      equal(guard.violated, violated);
      if (executed) guard.executed(rowsOf(executed, specs), nowS);
      counts[refused ? "refused" : JSON.stringify(given) === JSON.stringify(rows) ? "given" : "changed"] += 1;
      counts.executed += Number(Boolean(executed));
    }
  }
  ok(
    Object.values(counts).every((count) => count >= 50),
    `actions of all kinds, got ${JSON.stringify(counts)}`,
  );
}

export async function aGuardedPolicyActsAsInPython({ guards, guarded }) {
  for (const [i, { specs, steps }] of guards.policies.entries()) {
    let nowS = 0;
    const policy = await EdgePolicy.open(`${guarded}/guarded-${i}/1`, { clock: () => nowS });
    for (const [row, { first, now_s, given, refused, violated, executed }] of steps.entries()) {
      if (first) policy.reset();
      nowS = Number(now_s);
      if (refused) await refuses(policy.ask(row), rlway.ActionRefused, refused);
      else {
        const reply = await policy.ask(row);
        const parts = specs[0].path.length ? reply.action : [reply.action];
        const rows = specs.map(({ name, dtype, shape }, n) => [
          name,
          shape.length ? parts[n] : DTYPES[dtype].array.from([parts[n]], cast(dtype)),
        ]);
        equal(octetsOf(Object.fromEntries(rows), specs), given);
        equal([reply.guarded, reply.version], [violated, 1]);
      }
      equal(policy.guarded, violated);
      if (executed) {
        const rows = rowsOf(executed, specs);
        const parts = specs.map(({ name, shape }) => (shape.length ? rows[name] : rows[name][0]));
        policy.executed(specs[0].path.length ? parts : parts[0]);
      }
    }
    await policy.close();
  }
}

const cast = (dtype) => (dtype.endsWith("64") && !dtype.startsWith("float") ? BigInt : Number);

export async function anotherPolicysActionIsLimitedAlike({ bundles }) {
  const pair = (...numbers) => Float32Array.from(numbers);
  const policy = await EdgePolicy.open(`${bundles}/slow/1`);
  const limited = { action: pair(0.25, -0.25), guarded: { action: ["too_fast"] } };
  equal(policy.guard(pair(2, -2), pair(0, 0), 0.02), limited);
  equal(policy.guard([2, -2]), { action: pair(2, -2), guarded: {} }); // an episode begins
  policy.executed([1, 1]);
  equal(await policy.act([0, 0, 0, 0]), pair(0.75, 0.75)); // after the action that was executed, not after zero
  const odd = async () => policy.executed([1, 2, 3]);
  await refuses(odd(), rlway.SpecViolated, "action: expected float32[2], got 3 elements");
  const bounded = await EdgePolicy.open(`${bundles}/bounded/1`);
  equal([policy.needsEpisode, bounded.needsEpisode], [true, false]);
  equal(bounded.guard([2, 0]), { action: pair(1.25, 0), guarded: { action: ["out_of_range"] } });
  const refusing = await EdgePolicy.open(`${bundles}/refusing/1`);
  const refused = async () => refusing.guard([0, -2]);
  await refuses(refused(), rlway.ActionRefused, /^action\[1\]: .* out_of_range: expected -1\.25 to 1\.25, got -2\.$/);
}

export async function aGuardThatDoesNotFitIsRefusedAsInPython({ guards }) {
  const counts = { taken: 0, exact: 0, other: 0 };
  for (const { specs, guard, refusal, exact } of guards.judged) {
    const parsed = async () => parseGuard(guard, "guard.json", specs);
    if (refusal === null) await parsed();
    else await refuses(parsed(), rlway.BundleInvalid, exact ? refusal : /^guard\.json: .*\.$/);
    counts[refusal === null ? "taken" : exact ? "exact" : "other"] += 1;
  }
  ok(
    Object.values(counts).every((count) => count >= 20),
    `guards of all kinds, got ${JSON.stringify(counts)}`,
  );
}
