"""The SavedModel that every exported file is held against, and the nests that it takes and gives."""
