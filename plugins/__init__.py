"""Learned and dielectric models, analysis, adapters: everything with optional dependencies of its own."""
