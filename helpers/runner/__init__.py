"""Reads, runs, checks and tidies the notebooks, for ``helpers.runner`` and the tests. No notebook imports it."""
