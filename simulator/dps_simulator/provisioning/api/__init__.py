"""The endpoints of the provisioning service: translation between a protocol and the service."""
