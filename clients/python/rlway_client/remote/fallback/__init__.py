"""A local policy in the server's place: within a deadline, and until the server has proved itself again."""
