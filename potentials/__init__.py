"""Analytic potentials and fields."""
