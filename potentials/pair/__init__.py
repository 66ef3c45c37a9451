"""Pair potentials, each one scalar function."""
