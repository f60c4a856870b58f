"""One loop that knows a task through a narrow protocol."""
