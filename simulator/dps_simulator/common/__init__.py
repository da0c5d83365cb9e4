"""What every wing shares: identifiers, ETags, pages, limits, the trace, and what the wings need of each other."""
