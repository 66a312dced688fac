/**
 * What a policy does now: requests, latency, batches, queue, refusals, drift.
 *
 * In:      `/metrics`, once a second while the page is seen.
 * Out:     the view.
 */

import { ask, askJson, policyPath } from "./address.js";
import { bars, short } from "./bars.js";
import { chart } from "./chart.js";
import { choice, element, fault, fill, labelled } from "./element.js";
import { policyHead } from "./head.js";
import { Reading, Span, readMetrics } from "./metrics.js";
import { wantKey } from "./key.js";
import { elementNames } from "./spec.js";

const [EVERY_MS, POINTS, WINDOW] = [1000, 61, 10]; // percentiles and shares are of the last WINDOW readings
const NEEDS_KEY = "The live numbers come from /metrics, which asks for an admin key here.";

/** @type {import("./main.js").View} */
export async function show(asked) {
  const { head, policy, version } = await policyHead("Live", "live", asked);
  if (policy === null) return head;
  const { signal } = asked;
  const tiles = element("div", { className: "tiles" });
  const state = element("p", { className: "note", role: "status" }, "Reading /metrics…");
  let ofVersion = /** @type {string | null} */ (null);
  /** @type {Reading[]} */
  let readings = [];
  let paused = false;
  const scope = choice(
    [
      ["", "all versions"],
      ["one", `version ${version} alone`],
    ],
    "",
    (value) => {
      ofVersion = value ? String(version) : null;
      readings = [];
    },
  );
  const pause = element("button", { type: "button" }, "Pause");
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  });

  const { manifest } = await askJson(`${policyPath(policy)}/versions/${version}`, { signal });
  /** @param {string} feature an input and a place in it, or "all" */
  const nameOf = (feature) => {
    const [input, place] = feature.split(" ");
    const spec = manifest.observation.find((/** @type {any} */ { name }) => name === input);
    return spec && place !== "all" ? (elementNames(manifest, spec)[Number(place)]?.name ?? feature) : input;
  };

  async function read() {
    if (paused || document.hidden) return;
    try {
      const samples = readMetrics(await (await ask("metrics", { signal })).text());
      if (signal.aborted) return;
      readings = [...readings, new Reading(samples, policy ?? "", ofVersion, performance.now() / 1000)].slice(-POINTS);
      state.textContent = readings.length < 2 ? "Waiting for the second reading…" : "";
      if (readings.length > 1) tiles.replaceChildren(...allTiles(readings, nameOf));
    } catch (error) {
      if (signal.aborted) return;
      const status = /** @type {any} */ (error).status;
      if (status !== 401 && status !== 403) return void state.replaceChildren(fault(error));
      paused = true;
      const button = element("button", { type: "button", onclick: () => wantKey(NEEDS_KEY) }, "Enter a key");
      state.replaceChildren(NEEDS_KEY, " ", button);
    }
  }

  await read();
  const timer = setInterval(read, EVERY_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  fill(/** @type {Element} */ (head.lastElementChild), labelled("Count", scope), pause);
  return element("div", {}, head, state, tiles);
}

/** @param {Reading[]} readings @param {(feature: string) => string} nameOf */
function allTiles(readings, nameOf) {
  const spans = readings.slice(1).map((now, i) => new Span(readings[i], now));
  const last = readings[readings.length - 1];
  const recent = new Span(readings[Math.max(0, readings.length - 1 - WINDOW)], last);
  const windows = readings.slice(1).map((now, i) => new Span(readings[Math.max(0, i + 1 - WINDOW)], now));
  const ms = (/** @type {Span} */ span, /** @type {number} */ share) => {
    const seconds = span.percentile("rlway_request_seconds", share);
    return seconds === null ? null : seconds * 1000;
  };
  const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => ms(recent, share));
  const runs = recent.grown("rlway_batch_rows_count");
  const rows = runs ? recent.grown("rlway_batch_rows_sum") / runs : null;
  const mean = (/** @type {Span} */ { grown }, /** @type {string} */ name, /** @type {Span} */ span) =>
    grown.call(span, `${name}_sum`) / (grown.call(span, `${name}_count`) || 1);
  const refusals = recent.grownBy("rlway_refusals_total", "reason").filter(([, count]) => count);
  return [
    line(
      "Requests",
      " /s",
      spans.map((span) => span.rate("rlway_requests_total")),
    ),
    element(
      "section",
      { className: "panel tile" },
      element("h2", {}, "Latency in the server"),
      element("p", { className: "figure" }, p50 === null ? "–" : `${short(p50)} ms`),
      element(
        "p",
        { className: "note" },
        p50 === null ? "no request lately" : `median; p90 ${short(p90 ?? 0)} ms, p99 ${short(p99 ?? 0)} ms`,
      ),
      chart(
        "Median latency, and p99 as a dashed line",
        [windows.map((span) => ms(span, 0.5)), windows.map((span) => ms(span, 0.99))],
        POINTS - 1,
      ),
    ),
    line(
      "Waiting observations",
      "",
      readings.map((reading) => reading.sum("rlway_queue_rows")),
    ),
    element(
      "section",
      { className: "panel tile" },
      element("h2", {}, "Observations in a run"),
      element("p", { className: "figure" }, rows === null ? "–" : short(rows)),
      rows === null
        ? element("p", { className: "note" }, "no run lately")
        : histogram(recent.buckets("rlway_batch_rows")),
    ),
    line(
      "Actions",
      " /s",
      spans.map((span) => span.rate("rlway_actions_total")),
    ),
    element(
      "section",
      { className: "panel tile" },
      element("h2", {}, "Where the time goes"),
      runs
        ? bars("Milliseconds", [
            { name: "in the queue [ms]", value: 1000 * mean(recent, "rlway_queue_seconds", recent) },
            { name: "in a run [ms]", value: 1000 * mean(recent, "rlway_compute_seconds", recent) },
          ])
        : element("p", { className: "note" }, "no run lately"),
    ),
    counts("Refusals", refusals, "none lately", last.sum("rlway_refusals_total")),
    drift(last, nameOf),
    element(
      "section",
      { className: "panel tile" },
      element("h2", {}, "Since the start"),
      listed([
        ...[...last.by("rlway_requests_total", "status")].map(
          ([status, value]) => /** @type {[string, number]} */ ([`answers with ${status}`, value]),
        ),
        ["open streams", last.sum("rlway_streams")],
        ["open episodes", last.sum("rlway_episodes")],
        ["guarded actions", last.sum("rlway_guarded_actions_total")],
        ["swaps of the active version", last.sum("rlway_swaps_total")],
      ]),
    ),
  ];
}

/** @param {string} title @param {string} unit @param {number[]} values */
function line(title, unit, values) {
  const [now, most] = [values[values.length - 1] ?? 0, Math.max(...values, 0)];
  return element(
    "section",
    { className: "panel tile" },
    element("h2", {}, title),
    element("p", { className: "figure" }, short(now), unit),
    element("p", { className: "note" }, `most in the last minute: ${short(most)}${unit}`),
    chart(`${title} over the last minute: now ${short(now)}, most ${short(most)}`, [values], POINTS - 1),
  );
}

/** @param {[number, number][]} buckets */
function histogram(buckets) {
  const rows = buckets
    .map(([edge, value], i) => ({ edge, value, below: buckets[i - 1]?.[0] ?? 0 }))
    .filter(({ value }) => value)
    .map(({ edge, value, below }) => ({
      name: edge === Infinity ? `over ${below}` : below + 1 >= edge ? `${edge}` : `${below + 1}–${edge}`,
      value,
    }));
  return bars("Runs by their observations", rows);
}

/** @param {string} title @param {[string, number][]} rows @param {string} none @param {number} total */
function counts(title, rows, none, total) {
  return element(
    "section",
    { className: "panel tile" },
    element("h2", {}, title),
    element("p", { className: "figure" }, short(total)),
    rows.length
      ? bars(
          title,
          rows.map(([name, value]) => ({ name, value })),
        )
      : element("p", { className: "note" }, none),
  );
}

/** @param {[string, number][]} rows */
const listed = (rows) =>
  element(
    "dl",
    { className: "facts" },
    rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", { className: "number" }, short(value))]),
  );

/**
 * The share of observed values outside the range of the training.
 * @param {Reading} last
 * @param {(feature: string) => string} nameOf
 */
function drift(last, nameOf) {
  const seen = last.by("rlway_observation_values_total", "input", "feature");
  const outside = last.by("rlway_observation_out_of_range_total", "input", "feature");
  const shares = [...seen]
    .filter(([, count]) => count > 0)
    .map(([key, count]) => ({ name: nameOf(key), value: (100 * (outside.get(key) ?? 0)) / count }))
    .sort((a, b) => b.value - a.value);
  const none = seen.size ? "no observation yet" : "The bundle does not say which values its training saw.";
  return element(
    "section",
    { className: "panel tile" },
    element("h2", {}, "Drift: values outside the training, %"),
    shares.length
      ? bars("Drift in percent", shares.slice(0, 8), { bounds: [0, 100] })
      : element("p", { className: "note" }, none),
  );
}
