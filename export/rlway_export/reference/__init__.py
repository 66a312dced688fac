"""The policy in TensorFlow, with which every file is compared."""
