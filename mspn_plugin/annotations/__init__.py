"""Label files: one reader and one checker for training, evaluation and `mspn check`."""
