/** The clients with a time-out that only a test that fails reaches: the machine may do other work besides. */

import * as rlway from "../../clients/js/src/index.js";

const timeoutMs = 50_000;

export class PolicyClient extends rlway.PolicyClient {
  constructor(url, policy, options) {
    super(url, policy, { timeoutMs, ...options });
  }
}

export class PolicyStream extends rlway.PolicyStream {
  constructor(url, policy, options) {
    super(url, policy, { timeoutMs, ...options });
  }
}
