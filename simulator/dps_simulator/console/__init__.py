"""The simulator's own management API: what a client of it may see and change, and nothing of Azure's."""
