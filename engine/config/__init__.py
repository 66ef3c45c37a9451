"""The input file: what may stand in it, its units, its errors. It mirrors the physics and contains none."""
