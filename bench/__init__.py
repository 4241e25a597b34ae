"""How fast hookcache is beside what a user would do without it, measured side by side in one run: `python -m bench`."""
