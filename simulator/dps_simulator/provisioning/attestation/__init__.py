"""How a device proves itself: an enrollment and evidence in, a verdict out."""
