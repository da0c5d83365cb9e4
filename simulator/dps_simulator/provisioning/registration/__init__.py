"""Registrations: their states, the choice of a hub, and what happens when a device comes again."""
