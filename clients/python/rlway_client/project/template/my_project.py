"""The environment: a boat that should reach its berth and stop there. Put your own in its place."""

import gymnasium
import numpy as np
from gymnasium import spaces

STEPS = 50  # of an episode


class MyProject(gymnasium.Env):
    """The berth is at 0. The boat observes its position and its velocity."""

    observation_space = spaces.Box(np.array([-2, -1], np.float32), np.array([2, 1], np.float32))
    action_space = spaces.Discrete(3)  # thrust to the left, none, to the right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)  # self.np_random now follows from the seed
        self.position, self.velocity = self.np_random.uniform(-1, 1), 0.0
        self.steps = 0
        return self.observe(), {}

    def step(self, action):
        self.velocity = float(np.clip(0.95 * self.velocity + 0.05 * (int(action) - 1), -1, 1))
        self.position = float(np.clip(self.position + 0.2 * self.velocity, -2, 2))
        self.steps += 1
        reward = -abs(self.position)
        terminated = False  # True where the episode has come to its own end, such as a crash
        truncated = self.steps >= STEPS  # True where only the time is up
        return self.observe(), reward, terminated, truncated, {}

    def observe(self):
        return np.array([self.position, self.velocity], np.float32)
