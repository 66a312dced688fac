"""What bash offers after TAB, in the environment of the test.

In:      the words of a line; the last is the one that TAB completes, and may be empty.
Out:     the words that bash would offer, and what is printed meanwhile.
Refuses: a shell in which `rlway` has no completion.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

RLWAY = Path(sys.executable).with_name("rlway")
PATIENCE_S = 120.0  # of a machine that does other work besides

# Calls the function that bash would call for a line, with the variables that it would set.
PRESS_TAB = """
eval "$("$1" completion bash)"
shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
spec=$(complete -p rlway) || exit 3
function=${spec##*-F }; function=${function%% *}
"$function" rlway "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> tuple[list[str], str]:
    """What bash offers for the last word, and what is printed meanwhile."""
    bash = shutil.which("bash")
    assert bash is not None
    environment = os.environ | {"PATH": f"{RLWAY.parent}:{os.environ['PATH']}"}
    command = [bash, "--norc", "-c", PRESS_TAB, "bash", str(RLWAY), "rlway", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=True)
    return done.stdout.split(), done.stderr
