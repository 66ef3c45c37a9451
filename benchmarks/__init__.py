"""The engine's speed beside its peers', in one run on the same cores: see README.md here."""
