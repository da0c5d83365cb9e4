"""A hub's endpoints: translation between a protocol and the hub."""
