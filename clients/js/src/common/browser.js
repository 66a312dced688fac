/** Whether this is a page or one of its workers. */
export const isBrowser = "document" in globalThis || "WorkerGlobalScope" in globalThis;
