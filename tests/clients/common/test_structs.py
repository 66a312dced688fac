"""msgspec's classes on several threads."""

from __future__ import annotations

import subprocess
import sys

# Without build_structs, this program ends with a segmentation fault within the first hundred classes.
RACE = """
import sys, threading
import msgspec
from rlway_client.common.structs import build_structs
sys.setswitchinterval(1e-6)
def decode(kind, start):
    start.wait()
    msgspec.convert({"x": {"a": 2, "b": [1.0]}, "y": {"k": "v"}, "z": [{"a": 3}]}, kind)
for _ in range(200):
    scope = {"msgspec": msgspec}
    exec('''
class Inner(msgspec.Struct):
    a: int = 1
    b: list[float] | float | None = None
class Outer(msgspec.Struct):
    x: Inner | list[Inner]
    y: dict[str, str] = {}
    z: list[Inner] = []
''', scope)
    build_structs.__wrapped__()
    start = threading.Barrier(3)
    threads = [threading.Thread(target=decode, args=(scope["Outer"], start)) for _ in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_classes_that_are_built_can_be_decoded_by_several_threads() -> None:
    """As when a server loads two policies at once."""
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
