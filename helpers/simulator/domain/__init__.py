"""What the provisioning service and an IoT hub do, without any protocol, socket or wall clock."""
