"""What a run leaves behind: trajectory, thermo table, checkpoints, and what it shows meanwhile."""
