"""What the tests tried with which client, for docs/clients.md."""
