"""How the answers of Azure differ from those of the simulator, call by call, in a form that may be shown to others.

``python -m helpers.comparison`` runs notebooks on the ``azure`` target and on the simulator; :mod:`.recording` notes
every answer in the kernels, :mod:`.normal_form` takes out what is secret or differs from run to run before it is
written anywhere, :mod:`.differences` compares, :mod:`.report` writes Markdown and JSON.
"""
