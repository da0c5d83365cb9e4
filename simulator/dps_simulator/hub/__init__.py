"""An IoT hub: registry, twins, methods, messages and queries, without any protocol, socket or wall clock."""
