"""``python -m helpers.runner``: runs, checks and tidies the notebooks."""

import sys

from .cli import main

sys.exit(main())
