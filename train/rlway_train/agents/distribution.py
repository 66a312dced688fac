"""The devices that share an update.

In:      the settings.
Out:     a TensorFlow distribution strategy. The learner is made within its scope.
Refuses: UsageError for a batch size that its devices cannot share evenly.
"""

from __future__ import annotations

from typing import Any

from tf_agents.train.utils import strategy_utils

from rlway_client.contract.errors import UsageError
from rlway_train.config.settings import TrainingSettings


def make_strategy(settings: TrainingSettings) -> Any:
    """The default strategy, or one with a copy of the agent on each GPU. Without a GPU, the one copy is on the CPU."""
    strategy = strategy_utils.get_strategy(tpu=False, use_gpu=settings.strategy == "mirrored")
    replicas = strategy.num_replicas_in_sync
    if settings.batch_size % replicas:
        raise UsageError(
            f"--batch-size: expected a multiple of the {replicas} devices that share it, got {settings.batch_size}"
        )
    return strategy
