"""From a few answers, or a sentence, to the rung that should be tried first.

What is asked, how answers lead to a rung and what is said about it are data in assets/decide; this package reads them.
"""
