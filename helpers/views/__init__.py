"""Pictures, tables and widgets for the notebooks.

Each of them also has a text form, which is what prints where no browser looks: in a headless run, in a terminal, in
the file of the notebook when its HTML is not trusted yet. Nothing is told by colour alone, and all colours are the
page's own, so that light and dark themes both stay readable.
"""

from helpers.views.chain import chain_of_trust
from helpers.views.devices import device_table
from helpers.views.distribution import distribution
from helpers.views.enrollment_form import enrollment_form
from helpers.views.enrollments import enrollment_list
from helpers.views.fleet_progress import fleet_progress
from helpers.views.histogram import histogram
from helpers.views.sequence import overview, sequence
from helpers.views.timeline import timeline
from helpers.views.twin_editor import twin_editor

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
