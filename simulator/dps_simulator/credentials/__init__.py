"""Certificates, chains, keys, tokens and TPM blobs as a service judges them."""
