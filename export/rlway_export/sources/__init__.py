"""What a policy is exported from: runs, SavedModels, folders of checkpoints."""
