"""The policy in TensorFlow, against which every file is held."""
