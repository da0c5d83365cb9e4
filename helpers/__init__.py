"""What the notebooks import, and the simulator they run against."""
