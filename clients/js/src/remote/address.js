/**
 * Where a server is, and one exchange with it.
 *
 * In:      a base URL and a key; a path and a body.
 * Out:     status, headers and body of the answer.
 * Refuses: a URL that is not http or https, a key that fits into no header (UsageError); ServerUnreachable when the
 *          whole exchange takes longer than it may, or nothing answers.
 */

import { ServerUnreachable, UsageError } from "../contract/errors.js";

/** @typedef {{status: number, headers: Headers, body: ArrayBuffer}} Answer */

// How Node's fetch fails where the server had closed a kept connection, as it may at any time.
const STALE = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

export class Address {
  /**
   * @param {string} url
   * @param {string | null | undefined} key
   */
  constructor(url, key) {
    let parts;
    try {
      parts = new URL(url);
    } catch {
      parts = null;
    }
    if (!parts || !["http:", "https:"].includes(parts.protocol)) {
      throw new UsageError(`URL '${url}': expected http://HOST:PORT or https://HOST:PORT.`);
    }
    if (key && !/^[ -~]+$/.test(key)) throw new UsageError("API key: expected printable ASCII on one line.");
    /** @readonly with the path in front of all routes, for a server behind a proxy */
    this.base = parts.origin + parts.pathname.replace(/\/+$/, "");
    /** @type {Record<string, string>} */
    this.headers = key ? { authorization: `Bearer ${key}` } : {};
  }

  toString() {
    return this.base;
  }

  /**
   * @param {string} path
   * @param {object} request
   * @param {import("../common/deadline.js").Deadline} request.deadline of the whole exchange
   * @param {BodyInit} [request.body] makes it a POST
   * @param {string} [request.mediaType] of the body
   * @param {boolean} [request.again] whether it may be sent again when a kept connection broke
   * @returns {Promise<Answer>}
   */
  async exchange(path, { deadline, body, mediaType, again = true }) {
    const late = AbortSignal.timeout(Math.ceil(deadline.left));
    const headers = mediaType ? { ...this.headers, "content-type": mediaType } : this.headers;
    const request = { method: body === undefined ? "GET" : "POST", headers, body, signal: late };
    const send = async () => {
      const response = await fetch(this.base + path, request);
      return { status: response.status, headers: response.headers, body: await response.arrayBuffer() };
    };
    try {
      return await send().catch((error) => {
        if (again && STALE.has(error.cause?.code)) return send();
        throw error;
      });
    } catch (error) {
      if (late.aborted) throw this.timedOut(deadline.ms);
      throw this.unreachable(error);
    }
  }

  /** @param {number} timeoutMs */
  timedOut(timeoutMs) {
    return new ServerUnreachable(`${this}: no answer within ${Number((timeoutMs / 1000).toPrecision(3))} s.`);
  }

  /** @param {any} error what a failed connection was reported by */
  unreachable(error) {
    const reason = String(error?.cause?.message || error?.message || error).replace(/\.$/, "");
    return new ServerUnreachable(`${this}: no policy server answers there: ${reason}.`);
  }
}
