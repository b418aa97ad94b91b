"""The rows of the table, a chapter of the survey in each file."""
