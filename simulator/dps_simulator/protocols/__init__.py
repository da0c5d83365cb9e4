"""Sans-io protocols: bytes in, events out. They know nothing of the domain."""
