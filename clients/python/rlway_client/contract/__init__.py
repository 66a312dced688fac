"""What a policy takes and gives, in the same words for training, export, server and clients."""
