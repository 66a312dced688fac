"""Playing the policy that is exported: in which environment, what it earns there, what it sees."""
