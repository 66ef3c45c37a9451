"""Other people's models as potentials: each file needs its own package only when it is used."""
