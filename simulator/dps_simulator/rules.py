"""What the simulator judges by, for programs that stand before it: identifiers, secrets in texts, private files.

Public, so that such a program refuses what the simulator would refuse, hides what it hides, and keeps its own files as
safe as the state beside them. Copies of these rules would drift away from them.
"""

from .common.identifier_rules import (
    CERTIFICATE_NAME,
    CERTIFICATE_NAME_RULE,
    DEVICE_ID,
    DEVICE_ID_RULE,
    HOST,
    MAX_COMMON_NAME,
    MAX_ID_LENGTH,
    REGISTRATION_ID,
    REGISTRATION_ID_RULE,
)
from .common.private_files import FolderError, FolderLock, check_owner, is_no_place, make_folders, write_private
from .errors.masking import is_no_path, looks_random, mask, mask_in_input, mask_in_name, values
from .settings import state_folder

__all__ = [
    "CERTIFICATE_NAME",
    "CERTIFICATE_NAME_RULE",
    "DEVICE_ID",
    "DEVICE_ID_RULE",
    "HOST",
    "MAX_COMMON_NAME",
    "MAX_ID_LENGTH",
    "REGISTRATION_ID",
    "REGISTRATION_ID_RULE",
    "FolderError",
    "FolderLock",
    "check_owner",
    "is_no_path",
    "is_no_place",
    "looks_random",
    "make_folders",
    "mask",
    "mask_in_input",
    "mask_in_name",
    "state_folder",
    "values",
    "write_private",
]
