"""The advice in refusals of environments works, and so do the documentation's examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlway_client.contract.errors import EnvironmentFault
from rlway_train.envs.domain import find_domain
from tests.train.envs.advice import BY_DQN, BY_DQN_IN_GYMNASIUM, BY_SAC, Refused
from tests.train.games import GYMNASIUM, PY, checked, run, steps

DOCS = Path(__file__).parents[3] / "docs/training.md"
LONGEST_SENTENCE = 300


def followed(case: Refused, path: Path, continuous: bool) -> None:
    """The refusal is one short sentence, and its advice works."""
    name = f"{path}:{case.name}"
    with pytest.raises(EnvironmentFault) as refused:
        find_domain(name, time_limit=20, continuous=continuous)
    sentence = str(refused.value).replace(str(path), "games.py")
    assert case.says in sentence
    assert len(sentence) <= LONGEST_SENTENCE
    match case.then:
        case "{continuous}":
            domain = find_domain(name, time_limit=20, continuous=True)
        case "{discrete}":
            domain = find_domain(name, time_limit=20)
        case "{discretize}":
            domain = find_domain(name, discretize=3, time_limit=20)
        case other:
            domain = find_domain(f"{path}:{other}", time_limit=20, continuous=continuous)
    steps(domain)


@pytest.mark.parametrize("case", BY_DQN, ids=lambda case: f"{case.name}-{case.then}")
def test_advice_on_tf_agents_environments_works(case: Refused, tmp_path: Path) -> None:
    """With the advice followed, the environment can be learned."""
    path = tmp_path / f"py_{case.name}{case.then.strip('{}')}.py"
    path.write_text(PY + case.code)
    followed(case, path, continuous=False)


@pytest.mark.parametrize(
    ("case", "continuous"), [(case, False) for case in BY_DQN_IN_GYMNASIUM] + [(case, True) for case in BY_SAC]
)
def test_advice_on_gymnasiums_environments_works(case: Refused, continuous: bool, tmp_path: Path) -> None:
    """Wrappers as classes and as functions."""
    path = tmp_path / f"gym_{case.name}{continuous}.py"
    path.write_text(GYMNASIUM + case.code)
    followed(case, path, continuous)


def test_advice_on_seeds_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment of TF-Agents has no np_random; there are two other ways."""
    path = tmp_path / "seeded.py"
    path.write_text(
        PY
        + """
class Drawn(CardGame):
    def _reset(self):
        self._sum = np.random.randint(10)
        return ts.restart(self._seen())
class Seeded(Bare):
    def seed(self, seed):
        self._rng = np.random.default_rng(seed)
    def _reset(self):
        self._sum = int(self._rng.integers(10))
        return ts.restart(self._seen())
"""
    )
    assert run("env", "check", f"{path}:Bare") == 1
    assert "draw from np.random, or override seed()" in capsys.readouterr().err
    for name in ("Drawn", "Seeded"):
        checked(f"{path}:{name}", capsys)


def test_the_examples_of_the_documentation_are_learned_from(tmp_path: Path) -> None:
    """The wrappers are taken from docs/training.md."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    for name, obs_dim, n in (("CardGame", 1, 2), ("Lake", 16, 4), ("TicTacToe", 9, 9)):
        (code,) = [block for block in blocks if f"class {name}(" in block]
        path = tmp_path / f"{name}.py"
        path.write_text(code)
        domain = find_domain(f"{path}:{name}", time_limit=50)
        assert (domain.obs_dim, domain.n_actions) == (obs_dim, n)
        steps(domain)
