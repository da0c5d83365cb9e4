"""The provisioning client for devices with a TPM, beside the one of the official SDK, which has none."""
