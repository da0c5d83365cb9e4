"""The simulator as a process: its state, its address, its log, and how it is started in the background."""
