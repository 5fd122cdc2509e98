"""AI Memory: an MCP server that stores, recalls, lists and forgets memories."""
