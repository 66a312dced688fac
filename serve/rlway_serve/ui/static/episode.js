/**
 * A live episode: a world in the page, played by a served policy, with a hand to push.
 *
 * In:      the policy's manifest, which says which world it plays.
 * Out:     the view.
 */

import { askJson, policyPath } from "./address.js";
import { short } from "./bars.js";
import { choice, element, fault, labelled } from "./element.js";
import { policyHead } from "./head.js";
import { Player } from "./player.js";
import { isDiscrete } from "./spec.js";
import { Stage } from "./stage.js";
import { worldOf } from "./worlds.js";

const TOLD_MS = 250; // between two updates of the numbers
const SPEEDS = /** @type {[string, string][]} */ ([
  ["0.25", "¼ of real time"],
  ["1", "real time"],
  ["2", "twice real time"],
  ["Infinity", "as fast as it answers"],
]);

/** @type {import("./main.js").View} */
export async function show(asked) {
  const { head, policy, version } = await policyHead("Episode", "episode", asked);
  if (policy === null) return head;
  const { signal } = asked;
  const { manifest, guard } = await askJson(`${policyPath(policy)}/versions/${version}`, { signal });
  const World = worldOf(manifest);
  if (!World) return element("div", {}, head, unknown(manifest));

  const faults = element("div", {});
  const world = new World(manifest);
  const player = new Player(
    world,
    { manifest, guard },
    (error) => (faults.replaceChildren(fault(error)), showPlaying()),
  );
  const stage = new Stage(world, push);
  const play = element("button", { type: "button", className: "main", onclick: toggle });
  const strength = slider(World.strength);
  const told = element("div", {});
  let [pushes, told_ms, drawn_step, wasShoved] = [0, -Infinity, -1, false];

  function push(/** @type {1 | -1} */ direction) {
    pushes += 1;
    world.push(direction * strength.valueAsNumber);
    stage.showPush(direction);
    if (!player.playing) paint();
  }

  function toggle() {
    if (player.playing) player.pause();
    else {
      faults.replaceChildren();
      void player.play();
    }
    showPlaying();
  }

  function showPlaying() {
    play.textContent = player.playing ? "Pause" : "Play";
  }

  async function once() {
    player.pause();
    showPlaying();
    await player.step().catch(player.onFault);
  }

  function paint() {
    const now_ms = performance.now();
    const isShoved = stage.shove !== null && stage.shove.until_ms > now_ms;
    if (drawn_step !== player.total || isShoved || wasShoved) stage.draw(); // otherwise nothing has moved
    [drawn_step, wasShoved] = [player.total, isShoved];
    if (now_ms - told_ms < TOLD_MS) return;
    told_ms = now_ms;
    stage.draw(); // colours and the canvas may have changed
    stage.describe();
    told.replaceChildren(numbers(player, pushes, world.words));
  }

  let frame = requestAnimationFrame(function next() {
    paint();
    frame = requestAnimationFrame(next);
  });
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const isControl = target.closest("button, a, select, input, summary, dialog");
    if (event.altKey || event.ctrlKey || event.metaKey || isControl) return;
    if (event.key === "ArrowLeft") push(-1);
    else if (event.key === "ArrowRight") push(1);
    else if (event.key === " ") toggle();
    else return;
    event.preventDefault();
  };
  addEventListener("keydown", onKey);
  signal.addEventListener("abort", () => {
    cancelAnimationFrame(frame);
    removeEventListener("keydown", onKey);
    player.close();
  });

  showPlaying();
  const speed = choice(SPEEDS, "1", (value) => (player.speed = Number(value)));
  return element(
    "div",
    {},
    head,
    element(
      "div",
      { className: "play" },
      element(
        "div",
        { className: "stack" },
        stage.canvas,
        faults,
        element(
          "p",
          { className: "note" },
          "Touch the picture beside the pole to push it, or use the arrow keys. The space key plays and pauses. ",
          `${World.title} runs in this page; each action comes from version ${version}, over ${player.wire}.`,
          guard && " The policy's guard limits its actions.",
        ),
      ),
      element(
        "section",
        { className: "panel stack", "aria-label": "Controls" },
        element(
          "div",
          { className: "row" },
          play,
          element("button", { type: "button", onclick: once }, "One step"),
          element("button", { type: "button", onclick: () => (player.reset(), paint()) }, "Restart"),
        ),
        element(
          "div",
          { className: "row" },
          element("button", { type: "button", onclick: () => push(-1) }, "← Push"),
          element("button", { type: "button", onclick: () => push(1) }, "Push →"),
        ),
        element("label", {}, `Strength, ${World.strength.unit}`, strength),
        labelled("Speed", speed),
        exploring(manifest, player),
        told,
      ),
    ),
  );
}

/** @param {any} manifest */
function unknown(manifest) {
  return element(
    "div",
    { className: "panel" },
    element(
      "p",
      {},
      `This page plays CartPole-v1 and Pendulum-v1. The policy plays ${manifest.env ?? "another environment"}.`,
    ),
    element(
      "p",
      {},
      "To play it where its environment is: ",
      element("code", {}, `rlway play --url ${new URL("..", location.href).origin} --policy ${manifest.policy}`),
    ),
  );
}

/** @param {{low: number, high: number, step: number, value: number}} of */
function slider({ low, high, step, value }) {
  return element("input", { type: "range", min: low, max: high, step, value, className: "full" });
}

/** @param {any} manifest @param {Player} player */
function exploring(manifest, player) {
  if (!manifest.noise) return null;
  const way = isDiscrete(manifest) ? "epsilon" : "sigma";
  const shown = element("output", {}, "0");
  const input = element("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0, className: "full" });
  input.addEventListener("input", () => {
    shown.textContent = input.value;
    player.explore = input.valueAsNumber || manifest.explore ? { [way]: input.valueAsNumber } : undefined;
  });
  const text = way === "epsilon" ? "Random actions (ε): " : "Noise (σ): ";
  return element("label", {}, text, shown, input);
}

/** @param {Player} player @param {number} pushes @param {string} words */
function numbers(player, pushes, words) {
  /** @type {[string, string][]} */
  const rows = [
    ["actions/s", player.playing ? short(player.rate) : "–"],
    ["answer", player.total ? `${short(player.round_ms)} ms` : "–"],
    ["step", short(player.steps)],
    ["return", short(Math.round(player.reward))],
    ["episodes ended", short(player.episodes)],
    ["pushes", short(pushes)],
    ["state", words],
  ];
  return element(
    "dl",
    { className: "facts" },
    rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", { className: "number" }, value)]),
  );
}
