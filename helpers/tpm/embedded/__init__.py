"""A TPM 2.0 in this process, with as much of the specification as attestation needs."""
