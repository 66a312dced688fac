/**
 * The server that the page came from.
 *
 * In:      a path of its API.
 * Out:     its answer.
 * Refuses: what the server refuses, and no answer at all (Refused, with the server's sentence).
 */

import { key, wantKey } from "./key.js";

/** The server's URL, with the path that a proxy may put in front of its routes. */
export const BASE = new URL("..", import.meta.url);

export const NO_ANSWER = "The server does not answer. Is it still running?";

/** @typedef {{name: string, version: number | null, versions: number[], labels: Record<string, number>}} Summary */
/** @typedef {{policies: Summary[], default: string | null}} Listing */
/** @typedef {{method?: string, body?: string, signal?: AbortSignal, headers?: Record<string, string>}} Request */

export class Refused extends Error {
  /**
   * @param {string} sentence
   * @param {number} status 0 if there was no answer
   */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/**
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<Response>}
 */
export async function ask(path, { method = "GET", body, signal, headers = {} } = {}) {
  /** @type {Record<string, string>} */
  const sent = { ...headers };
  if (key()) sent.authorization = `Bearer ${key()}`;
  if (body !== undefined) sent["content-type"] ??= "application/json";
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), { method, body, signal: signal ?? null, headers: sent });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(NO_ANSWER, 0);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const refused = new Refused(problem.detail ?? `${path}: the server answered with ${answer.status}.`, answer.status);
  if (answer.status === 401 && !key()) wantKey(refused.message);
  throw refused;
}

/**
 * @param {string} path
 * @param {Request} [request]
 * @returns {Promise<any>}
 */
export const askJson = async (path, request) => (await ask(path, request)).json();

/** @param {AbortSignal} signal @returns {Promise<Listing>} */
export const listPolicies = (signal) => askJson("v1/policies", { signal });

/** @param {string} policy */
export const policyPath = (policy) => `v1/policies/${encodeURIComponent(policy)}`;

/**
 * A picture or a film, which an element cannot ask for with a key. It is kept until `signal` is aborted.
 * @param {string} path
 * @param {AbortSignal} signal
 */
export async function askBlob(path, signal) {
  const url = URL.createObjectURL(await (await ask(path, { signal })).blob());
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  return url;
}
