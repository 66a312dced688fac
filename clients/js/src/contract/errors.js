/**
 * Every failure that a client reports, with the names and sentences of the Python client.
 *
 * In:      the status and the problem document (RFC 9457) of an answer; or a sentence.
 * Out:     an error whose message is one sentence: subject, what was expected, what was found, the remedy.
 */

/** A failure, with one sentence for the person who can mend it. */
export class RlwayError extends Error {
  /** Whether a server reported it; otherwise it was found here. */
  reported = false;
}

export class RequestMalformed extends RlwayError {}
export class KeyMissing extends RlwayError {}
export class KeyRefused extends RlwayError {}
export class NotFound extends RlwayError {}
/** The rest of a request did not come in time. */
export class RequestTimeout extends RlwayError {}
export class BodyTooLarge extends RlwayError {}
export class MediaTypeUnsupported extends RlwayError {}
/** The action violates a rule of the policy's guard, which refuses what does. */
export class ActionRefused extends RlwayError {}
export class HeadersTooLarge extends RlwayError {}
export class Unimplemented extends RlwayError {}
export class NotReady extends RlwayError {}
/** The caller's own `deadlineMs` passed before the policy ran. */
export class DeadlineExceeded extends RlwayError {}
/** This client was given what it cannot use. */
export class UsageError extends RlwayError {}
/** A file cannot be run, because what runs such files is not there. */
export class RuntimeMissing extends UsageError {}
/** A bundle is missing, damaged or of another schema. */
export class BundleInvalid extends RlwayError {}
/** Nothing answered, or not in time. */
export class ServerUnreachable extends RlwayError {}

/** Values that do not fit the policy's spec; `faults` names each by its path. */
export class SpecViolated extends RlwayError {
  /** @param {Fault[]} faults at least one */
  constructor(faults) {
    super(sentence(faults[0]) + (faults.length > 1 ? ` (and ${faults.length - 1} more)` : ""));
    this.faults = faults;
  }
}

/** A limit of the server is reached. */
export class QueueFull extends RlwayError {
  /**
   * @param {string} message
   * @param {number} retryAfterS when to try again
   */
  constructor(message, retryAfterS = 1) {
    super(message);
    this.retryAfterS = retryAfterS;
  }
}

/** The server failed, whatever the caller does; its log has the cause under the same request id. */
export class InternalError extends RlwayError {
  /** @param {string} requestId */
  constructor(requestId) {
    super(`The server failed on this request; its log has the cause under request id ${requestId}.`);
    this.requestId = requestId;
  }
}

const BY_STATUS = new Map([
  [400, RequestMalformed],
  [401, KeyMissing],
  [403, KeyRefused],
  [404, NotFound],
  [408, RequestTimeout],
  [413, BodyTooLarge],
  [415, MediaTypeUnsupported],
  [422, ActionRefused],
  [431, HeadersTooLarge],
  [501, Unimplemented],
  [503, NotReady],
  [504, DeadlineExceeded],
]);

// Named here, so that the names stay where a bundler shortens those of classes.
const NAMED = {
  RlwayError, RequestMalformed, KeyMissing, KeyRefused, NotFound, RequestTimeout, BodyTooLarge, MediaTypeUnsupported,
  ActionRefused, HeadersTooLarge, Unimplemented, NotReady, DeadlineExceeded, UsageError, RuntimeMissing, BundleInvalid,
  ServerUnreachable, SpecViolated, QueueFull, InternalError,
}; // prettier-ignore
for (const [name, kind] of Object.entries(NAMED)) Object.defineProperty(kind.prototype, "name", { value: name });

/**
 * One place where a value does not fit.
 * @typedef {{path: string, expected: string, got: string}} Fault
 */

export const LONGEST_KEY = 64; // characters of a key in a path

/** @param {string} where @param {string} key @returns {string} the path of a part: observation["joints"] */
export const at = (where, key) => `${where}[${JSON.stringify([...key].slice(0, LONGEST_KEY).join(""))}]`;

const CUT = 80; // characters; longer parts of a fault's sentence are cut

/**
 * The fault for people. A long path loses its beginning, the other parts lose their end.
 * @param {Fault} fault
 */
function sentence({ path, expected, got }) {
  const end = path.length <= CUT ? path : `…${path.slice(1 - CUT)}`;
  const [wanted, found] = [expected, got].map((text) => (text.length <= CUT ? text : `${text.slice(0, CUT - 1)}…`));
  return `${end}: expected ${wanted}, got ${found}`;
}

/**
 * The error that a server reported by this status and problem document.
 * @param {number} status
 * @param {any} problem what the body holds; anything that is no object has no detail
 * @param {string | null} retryAfter the header of that name
 * @returns {RlwayError}
 */
export function fromProblem(status, problem, retryAfter = null) {
  const error = makeError(status, problem ?? {}, retryAfter ?? "");
  error.reported = true;
  return error;
}

/**
 * @param {number} status
 * @param {any} problem
 * @param {string} retryAfter
 */
function makeError(status, problem, retryAfter) {
  const detail = String(problem.detail || `the server answered with status ${status}`);
  if (status === 422 && Array.isArray(problem.errors) && problem.errors.length && problem.errors.every(isFault)) {
    return new SpecViolated(problem.errors);
  }
  if (status === 429) return new QueueFull(detail, /^\d+$/.test(retryAfter) ? Number(retryAfter) : 1);
  if ("request_id" in problem) return new InternalError(String(problem.request_id));
  return new (BY_STATUS.get(status) ?? RlwayError)(detail);
}

/** @param {any} fault */
const isFault = (fault) => [fault?.path, fault?.expected, fault?.got].every((text) => typeof text === "string");
