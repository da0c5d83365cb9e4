"""Pictures, tables and widgets for the notebooks.

Each of them also has a text form, which is what prints where no browser looks: in a headless run, in a terminal, in
the file of the notebook when its HTML is not trusted yet. Nothing is told by colour alone, and all colours are the
page's own, so that light and dark themes both stay readable.
"""

from helpers.views.chain import chain_of_trust
from helpers.views.devices import device_table
from helpers.views.distribution import distribution
from helpers.views.enrollments import enrollment_list
from helpers.views.sequence import overview, sequence

__all__ = ["chain_of_trust", "device_table", "distribution", "enrollment_list", "overview", "sequence"]
