"""AMQP 1.0, the server's side: bytes in and events out."""
