"""The `sophia` command and day-2 tools."""
