/**
 * What the client knows of the policy that it asks.
 *
 * In:      the server's address, the policy's name.
 * Out:     the description of `GET /v1/policies/{policy}`, and the manifest in it.
 * Refuses: a server without a default policy, if none is named (ServerUnreachable); what the server refuses.
 */

import { RlwayError, ServerUnreachable } from "../contract/errors.js";
import { limitsChanges } from "../contract/guard.js";
import { checkManifest } from "../contract/manifest.js";
import { NO_POLICY_SERVER, readJson } from "./messages.js";

/** @typedef {import("../common/deadline.js").Deadline} Deadline */
/** @typedef {import("../contract/manifest.js").Manifest} Manifest */
/** @typedef {{name: string, manifest: Manifest, version: number, versions: number[], [key: string]: any}} PolicyDescription */

export class Description {
  /** @type {Manifest | null} */
  manifest = null;
  needsEpisode = false; // whether an action depends on the steps before it: by the policy's state, or by its guard
  /** @type {Set<number>} versions that answered besides the manifest's own, since an episode or a request asks so */
  #others = new Set();

  /**
   * @param {import("./address.js").Address} address
   * @param {string | null} policy
   */
  constructor(address, policy) {
    this.address = address;
    this.policy = policy;
  }

  /**
   * Asks the server.
   * @param {Deadline} deadline
   * @returns {Promise<PolicyDescription>}
   */
  async ask(deadline) {
    const name = this.policy ?? defaultPolicy(readJson(await this.address.exchange("/v1/policies", { deadline })));
    const path = `/v1/policies/${encodeURIComponent(name)}`;
    const description = readJson(await this.address.exchange(path, { deadline }));
    if (typeof description?.manifest !== "object") throw new RlwayError(NO_POLICY_SERVER);
    this.manifest = checkManifest(description.manifest, `${this.address}${path}`);
    this.needsEpisode = this.manifest.state.length > 0 || limitsChanges(description.guard);
    this.#others.clear();
    return description;
  }

  /**
   * The manifest, asked for once.
   * @param {Deadline} deadline
   * @returns {Promise<Manifest>}
   */
  async know(deadline) {
    if (this.manifest === null) await this.ask(deadline);
    return /** @type {Manifest} */ (this.manifest);
  }

  /**
   * The manifest for the answer of a version. Another version than before may have other specs: the server is asked.
   * @param {number | null} version
   * @param {Deadline} deadline
   * @returns {Promise<Manifest>}
   */
  async knowFor(version, deadline) {
    const manifest = await this.know(deadline);
    if (version === null || version === manifest.version || this.#others.has(version)) return manifest;
    await this.ask(deadline);
    this.#others.add(version);
    return /** @type {Manifest} */ (this.manifest);
  }

  /** The next request asks for the manifest again. */
  forget() {
    this.manifest = null;
  }
}

/** @param {any} listing of `GET /v1/policies` */
function defaultPolicy(listing) {
  if (typeof listing?.default === "string") return listing.default;
  const served = (listing?.policies ?? []).map((/** @type {any} */ policy) => policy?.name).join(", ");
  throw new ServerUnreachable(
    `the server has no default policy; name one of those that it serves: ${served || "none yet"}.`,
  );
}
