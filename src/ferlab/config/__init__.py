"""Configuration: the schema, its validation, and composing configs of other commands."""
