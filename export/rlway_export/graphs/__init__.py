"""TensorFlow graphs: read without the types of their program, freed of draws, loops and fixed batches."""
