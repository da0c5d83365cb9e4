"""How commands reach a TPM: a device file, a program in software, or sockets."""
