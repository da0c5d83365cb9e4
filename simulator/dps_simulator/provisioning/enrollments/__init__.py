"""Enrollments, individual and of groups: their fields, their book, and changes in bulk."""
