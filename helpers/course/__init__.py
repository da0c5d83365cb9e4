"""The course: its lessons, how far somebody is in them, and a group of people who take it together."""

from .outline import FOR_INSTRUCTORS, NOTEBOOKS, PASSED, Lesson, lesson, lessons

__all__ = ["FOR_INSTRUCTORS", "NOTEBOOKS", "PASSED", "Lesson", "lesson", "lessons"]
