"""A Keras network as a source: its file is read, and checked before anything in it is built."""
