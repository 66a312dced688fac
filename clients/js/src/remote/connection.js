/**
 * A WebSocket on which answers come in the order of the frames.
 *
 * In:      frames, as text or octets.
 * Out:     for each the frame that answers it.
 * Refuses: ServerUnreachable when an answer is not there in time; when the connection ends, to all that wait. An answer
 *          that comes late is dropped, and never taken for the next one.
 */

import { ServerUnreachable } from "../contract/errors.js";

/** @typedef {import("../common/deadline.js").Deadline} Deadline */
/** @typedef {{resolve: (data: string | ArrayBuffer) => void, reject: (error: Error) => void}} Waiting */

export class Connection {
  isOpen = true;
  isFresh = true; // nothing was sent on it yet
  /** @type {Waiting[]} in the order in which their answers come */
  #waiting = [];
  #socket;
  #address;
  #told;

  /**
   * @param {any} socket an open WebSocket
   * @param {import("./address.js").Address} address
   */
  constructor(socket, address) {
    this.#socket = socket;
    this.#address = address;
    /** @type {() => void} */
    this.#told = () => {};
    /** @type {Promise<void>} */
    this.ended = new Promise((resolve) => (this.#told = resolve));
    socket.onmessage = (/** @type {MessageEvent} */ { data }) => this.#waiting.shift()?.resolve(data);
    socket.onerror = () => this.#end("the connection failed"); // in Node, no close may follow
    socket.onclose = (/** @type {CloseEvent} */ { code, reason }) => {
      this.#end(`the stream closed with code ${code}${reason ? ` (${reason})` : ""}`);
    };
  }

  /**
   * @param {any} WebSocket the class
   * @param {import("./address.js").Address} address
   * @param {string} path
   * @param {Deadline} deadline
   * @returns {Promise<Connection>}
   */
  static open(WebSocket, address, path, deadline) {
    const url = address.base.replace(/^http/, "ws") + path;
    // A browser sends no headers, and takes no second argument of this form.
    const socket =
      "authorization" in address.headers ? new WebSocket(url, { headers: address.headers }) : new WebSocket(url);
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(address.timedOut(deadline.ms));
        socket.close();
      }, deadline.left);
      socket.onopen = () => {
        clearTimeout(timer);
        resolve(new Connection(socket, address));
      };
      socket.onerror = socket.onclose = () => {
        clearTimeout(timer);
        reject(address.unreachable("it refused the WebSocket, or the connection failed"));
      };
    });
  }

  /**
   * @param {string | ArrayBufferView} frame
   * @param {Deadline} deadline
   * @returns {Promise<string | ArrayBuffer>}
   */
  exchange(frame, deadline) {
    if (!this.isOpen) return Promise.reject(this.#address.unreachable("the stream is closed"));
    this.#socket.send(frame);
    this.isFresh = false;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#address.timedOut(deadline.ms)), deadline.left);
      this.#waiting.push({
        resolve: (data) => (clearTimeout(timer), resolve(data)), // which does nothing once it was rejected
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
    });
  }

  close() {
    this.#socket.close();
    this.#end("the stream was closed by this program");
  }

  /** @param {string} why */
  #end(why) {
    this.isOpen = false;
    this.#told();
    const waiting = this.#waiting.splice(0);
    for (const one of waiting) one.reject(new ServerUnreachable(`${this.#address}: no answer: ${why}.`));
  }
}
