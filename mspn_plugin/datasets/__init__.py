"""Data sets and what they need: synthetic people for demos and tests."""
