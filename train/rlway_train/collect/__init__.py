"""Environment steps as transitions, and evaluation."""
