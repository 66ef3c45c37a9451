"""How a state moves: operators and their compositions."""
