"""Matter in an electric field: learned enthalpies F(R, E, cell), their training, and observables of polarization."""
