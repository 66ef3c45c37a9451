"""Electrostatics of point charges: exact Ewald sums, and damped shifted force (DSF)."""
