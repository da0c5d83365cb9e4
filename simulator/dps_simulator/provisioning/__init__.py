"""The provisioning service: enrollments, attestation and registrations, without any protocol, socket or wall clock."""
