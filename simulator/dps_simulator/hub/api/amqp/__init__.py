"""The AMQP endpoint of an IoT hub: devices, services and readers of telemetry share one host name and one port."""
