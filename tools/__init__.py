"""What maintainers run: the documents that are made from the code, and the spelling. None of it is in a wheel."""
