"""Pictures, tables and widgets for the notebooks.

Each of them also has a text form, which is what prints where no browser looks: in a headless run, in a terminal, in
the file of the notebook when its HTML is not trusted yet. Nothing is told by colour alone, and all colours are the
page's own, so that light and dark themes both stay readable.
"""

from .chain import chain_of_trust
from .devices import device_table
from .distribution import distribution
from .enrollment_form import enrollment_form
from .enrollments import enrollment_list
from .fleet_progress import fleet_progress
from .histogram import histogram
from .sequence import overview, sequence
from .timeline import timeline
from .twin_editor import twin_editor

__all__ = [
    "chain_of_trust",
    "device_table",
    "distribution",
    "enrollment_form",
    "enrollment_list",
    "fleet_progress",
    "histogram",
    "overview",
    "sequence",
    "timeline",
    "twin_editor",
]
