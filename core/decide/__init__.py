"""From a few answers to the rung that should be tried first. Questions and rules are data in questions.yaml."""
