"""What the command `mspn` and the scripts in `tools/` run."""
