"""From single steps to what replay stores: transitions over n steps, sequences."""
