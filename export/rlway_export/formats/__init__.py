"""The formats that a policy is converted to."""
