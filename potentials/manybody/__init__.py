"""Potentials with angular terms: Stillinger–Weber, Tersoff."""
