"""Checks of the exercises: each knows the right answer, and the mistakes that people usually make.

A check never raises: an answer that is missing, or of a kind that nobody expected, gets a hint like any other.
"""
