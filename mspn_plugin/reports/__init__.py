"""What a training has learned and where it fails: one HTML file."""
