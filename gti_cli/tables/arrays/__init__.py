"""Histories as arrays: ids are numbers in them, and a text is made only for what somebody looks at."""
