"""Published weights: read, renamed by tables, and fitted to a task."""
