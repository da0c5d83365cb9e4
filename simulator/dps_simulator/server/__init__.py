"""Sockets, TLS and the event loop: the only place that has them."""
