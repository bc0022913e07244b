"""Stock MMPose's MSPN and this package's, measured side by side: `tools/benchmark.py`.

`settings` says how much is measured, `network` and `material` make what both sides work on,
`rows_*` check that both sides give the same and then time them, `scale` measures cost against
work, `report` and `plots` write it down. Nothing here is imported unless a benchmark runs.
"""
