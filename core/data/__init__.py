"""Examples in: reading chat JSONL, saying what is wrong with it, and splitting it without leaks."""
