"""HTTP and MQTT as this service speaks them: routing, authentication, and errors on the wire."""
