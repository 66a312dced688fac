/**
 * Runs every case, in Node or in a page.
 *
 * In:      the URL of the file server, which has what the cases are given.
 * Out:     what went wrong with each, by its name; null if nothing did.
 */

const PATIENCE_MS = 60_000; // only a case that fails waits this long

/** @param {string} files */
export async function runAll(files) {
  const given = await (await fetch(`${files}/given`)).json();
  const wish = (name) => fetch(`${files}/wish/${name}`, { method: "POST", body: "" });
  const results = {};
  for (const module of given.modules) {
    let cases = {};
    try {
      cases = await import(`./cases/${module}`);
    } catch (error) {
      results[module] = String(error?.stack);
    }
    for (const [name, run] of Object.entries(cases)) {
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end within ${PATIENCE_MS} ms`)), PATIENCE_MS);
      });
      results[name] = await Promise.race([run({ ...given, wish }), late]).then(
        () => null,
        (error) => String(error?.stack ?? error),
      );
      clearTimeout(timer);
    }
  }
  await fetch(`${files}/results`, { method: "POST", body: JSON.stringify(results) });
}

if (typeof process !== "undefined") await runAll(process.argv[2]);
