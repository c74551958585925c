"""The recipes: one pipe file each. README.md states the contract."""
