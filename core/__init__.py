"""Lowest Rung without a screen: everything the pages and the command line call."""
