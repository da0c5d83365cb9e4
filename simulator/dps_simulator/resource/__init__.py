"""The management plane: a provisioning service and its hubs as resources of Azure Resource Manager."""
