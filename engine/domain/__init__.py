"""Bricks, ghosts and halo exchange; a serial run is one brick whose ghosts are its own periodic images."""
