"""What went wrong, and what to do: :func:`explain` knows the errors of the clients, of the services and of people."""

from .explain import Evidence, Explanation, explain

__all__ = ["Evidence", "Explanation", "explain"]
