"""The kinds of files that a policy can be exported to."""
