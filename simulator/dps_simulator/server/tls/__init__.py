"""TLS: the authority, the context, and how bytes become records on a plain transport."""
