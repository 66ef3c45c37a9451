"""How fast a run will be, how much memory it takes, and how long an outer time step may be: by measuring."""
