"""A policy whose elements have names, and the same observations in every form that has them."""

from __future__ import annotations

import numpy as np

from tests.bundles import BIAS, WEIGHTS

NAMES = ["x", "dx", "angle", "spin"]
ARM = ["hip", "knee", "toe"]  # of the arm of `robot_policy`
ROWS = np.random.default_rng(7).normal(size=(6, 4)).round(3).astype(np.float32)
ACTIONS = (ROWS @ WEIGHTS + BIAS).argmax(axis=1).tolist()  # of `linear_policy`
SHUFFLED = ["spin", "x", "angle", "dx"]
COLUMNS = {name: ROWS[:, NAMES.index(name)] for name in SHUFFLED}
OBJECTS = [{name: float(row[NAMES.index(name)]) for name in SHUFFLED} for row in ROWS]
NAN = float("nan")
