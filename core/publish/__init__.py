"""What is taken away: adapters merged into their base, files for other programs, and adapters brought in."""
