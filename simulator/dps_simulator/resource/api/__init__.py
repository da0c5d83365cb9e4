"""The endpoints of the management plane."""
