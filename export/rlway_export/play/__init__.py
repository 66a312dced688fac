"""Episodes played with the policy, for real observations and returns."""
