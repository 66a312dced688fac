"""What every part of the client may use: nothing here knows of policies, servers or environments."""
