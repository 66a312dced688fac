"""From environment steps to transitions, and the evaluation of policies."""
