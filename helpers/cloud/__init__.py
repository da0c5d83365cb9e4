"""What it takes to have a provisioning service on Azure: commands, prices, settings, ways through the network."""

from .command_line import TAG, AzureCommandError, CommandLine, is_ours
from .prices import estimate, price_list
from .settings_file import check_settings, remove_settings, write_settings
from .ways import ways

__all__ = [
    "TAG",
    "AzureCommandError",
    "CommandLine",
    "check_settings",
    "estimate",
    "is_ours",
    "price_list",
    "remove_settings",
    "ways",
    "write_settings",
]
