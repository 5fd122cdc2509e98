"""How an operation looks to a person or a program. Everything is derived from engine events."""
