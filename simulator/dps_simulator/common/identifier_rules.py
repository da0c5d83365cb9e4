"""Which texts can be identifiers, as patterns for a full match, and the same in words.

This is the one place where these rules are written down. The simulator refuses by them, and so does what stands
before it: parameters of notebooks, forms, certificates. So nothing is accepted here that is refused there.

Source: Microsoft documentation, iot-dps concepts-service ("Registration ID", "Device ID"),
iot-hub-devguide-identity-registry (device IDs of a hub), and the Azure Resource Manager rules for names.
"""

from __future__ import annotations

import re

#: Characters of a registration ID, of a group's name or of a device ID, at most.
MAX_ID_LENGTH = 128
#: A registration ID, or the name of an enrollment group. Always to be matched in full: ``$`` would allow a line break.
REGISTRATION_ID = re.compile(rf"[A-Za-z0-9._:-]{{0,{MAX_ID_LENGTH - 1}}}[A-Za-z0-9-]")
REGISTRATION_ID_RULE = "up to 128 letters, digits and . _ : - with a letter, a digit or - at its end"
#: The documented characters plus ``:``, which provisioned device IDs may contain.
DEVICE_ID = re.compile(rf"[A-Za-z0-9._:%+#*?!(),=@$'-]{{1,{MAX_ID_LENGTH}}}")
DEVICE_ID_RULE = "up to 128 letters, digits and - : . + % _ # * ? ! ( ) , = @ $ '"
#: Characters of a certificate's common name, at most. Source: RFC 5280, ub-common-name.
MAX_COMMON_NAME = 64
#: The host name of a service or a hub, in small letters. Source: RFC 1123, section 2.1.
HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
#: What the provisioning service calls a CA certificate.
CERTIFICATE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
CERTIFICATE_NAME_RULE = "up to 64 letters, digits and . _ -"
