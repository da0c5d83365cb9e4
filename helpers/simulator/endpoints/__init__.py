"""Translation between a protocol and the domain. One operation is written once and serves every protocol."""
