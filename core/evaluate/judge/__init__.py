"""A model that judges answers: one at a time by a rubric, or two against each other in both orders.

Secondary evidence: a judge has tastes of its own (for what it reads first, for length, for its own words), so its
verdicts stand beside the votes of people and how far the two agree, and never decide alone unless a person chose so.
"""
