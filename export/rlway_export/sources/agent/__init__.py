"""A checkpoint of tf.train.Checkpoint as a source, once the user's code has built the agent that it belongs to."""
