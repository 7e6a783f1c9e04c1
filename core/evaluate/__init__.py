"""Evaluation: rungs, metrics, statistics, experiment, verdict, report."""
