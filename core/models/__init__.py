"""Models: which ones there are, loading them, and one way of asking any of them for an answer."""
