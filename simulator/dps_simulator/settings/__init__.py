"""What can be set, in a file, in the environment or in code, and what a simulator holds from the start."""
