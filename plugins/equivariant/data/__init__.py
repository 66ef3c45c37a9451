"""Training data: frames with labels from files (``frames``), checks (``checks``), splits, graphs on disk, shifts."""
