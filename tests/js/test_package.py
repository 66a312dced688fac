"""What `npm pack` puts into the package, and whether TypeScript can use it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.js.runtimes import PACKAGE, need_node

pytestmark = pytest.mark.slow

PROGRAM = """
import { EdgePolicy, FallbackPolicy, PolicyClient, PolicyStream, SpecViolated } from "rlway-client";
import type { FallbackReply, PolicyLike, Reply } from "rlway-client";

const options = { key: "k", timeoutMs: 50, episode: "e" };
const client: PolicyLike = new PolicyClient("http://127.0.0.1:8080", "cartpole", options);
const stream = new PolicyStream("http://127.0.0.1:8080", null, { raw: true });
const observation = { camera: new Uint8Array(2), arm: [1, 2n] };
const reply: Reply = await stream.ask(observation, { explore: { epsilon: 0.1 }, seed: 7 });
const local = await EdgePolicy.open("models/cartpole/1", { ort: null, clock: () => 0 });
const rules: string[] = (await local.ask({ hip: 1, knee: 0 })).guarded.action ?? local.guarded.action;
const fallback = new FallbackPolicy(stream, local, { withinMs: 15, onChange: ({ state }) => state === "local" });
const told: FallbackReply = await fallback.ask([1, 0], { takenMs: 3, timeStep: { reward: 1 } });
const version: number | null = reply.version ?? told.version ?? fallback.counts.hold;
const paths: string[] = new SpecViolated([{ path: "a", expected: "b", got: "c" }]).faults.map((fault) => fault.path);
// @ts-expect-error: the deadline has to be named
new FallbackPolicy(stream, "hold", {});
export { client, paths, rules, version };
"""
SETTINGS = {"compilerOptions": {"strict": True, "module": "nodenext", "target": "es2022", "noEmit": True, "types": []}}


def test_the_package_holds_its_modules_with_their_types_and_nothing_else(tmp_path: Path) -> None:
    """And a program in TypeScript compiles with it, strictly."""
    need_node()
    words = ["npm", "pack", "--json", "--no-update-notifier", "--pack-destination", str(tmp_path)]
    done = subprocess.run(words, cwd=PACKAGE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    modules = {f"src/{file.relative_to(PACKAGE / 'src')}" for file in (PACKAGE / "src").rglob("*.js")}
    types = {f"types/{name.removeprefix('src/').removesuffix('.js')}.d.ts" for name in modules}
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as packed:
        names = {member.name.removeprefix("package/") for member in packed}
        packed.extractall(tmp_path, filter="data")
    assert names == modules | types | {"package.json", "README.md"}
    assert "dependencies" not in json.loads((PACKAGE / "package.json").read_text())

    (tmp_path / "node_modules").mkdir()
    (tmp_path / "package").rename(tmp_path / "node_modules/rlway-client")
    (tmp_path / "program.mts").write_text(PROGRAM)
    (tmp_path / "tsconfig.json").write_text(json.dumps(SETTINGS))
    compiled = subprocess.run(
        [str(PACKAGE / "node_modules/.bin/tsc"), "-p", str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert compiled.returncode == 0, compiled.stdout
