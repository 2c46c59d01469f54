"""The thin helper package."""
