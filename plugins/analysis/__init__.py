"""Observers: averages and correlations that are gathered while a run goes, so that no trajectory has to be kept."""
