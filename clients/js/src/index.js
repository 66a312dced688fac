/**
 * Actions from an RLway policy server, or from a bundle's ONNX file in this process; for browsers and Node.
 *
 * In:      observations; the URL of a server, or the path or URL of a bundle.
 * Out:     actions.
 */

export * from "./contract/errors.js";
export { FallbackPolicy } from "./fallback/fallback.js";
export { EdgePolicy } from "./local/edge.js";
export { PolicyClient } from "./remote/client.js";
export { PolicyStream } from "./remote/stream.js";
/** @typedef {import("./contract/manifest.js").Manifest} Manifest */
/** @typedef {import("./contract/policy.js").ActOptions} ActOptions */
/** @typedef {import("./contract/policy.js").PolicyLike} PolicyLike */
/** @typedef {import("./contract/specs.js").TensorSpec} TensorSpec */
/** @typedef {import("./remote/messages.js").AskOptions} AskOptions */
/** @typedef {import("./contract/policy.js").Reply} Reply */
/** @typedef {import("./fallback/fallback.js").FallbackReply} FallbackReply */
