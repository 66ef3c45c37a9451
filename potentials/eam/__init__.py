"""Embedded-atom potentials: E = Σ F(ρ_i) + Σ φ(r_ij), ρ_i = Σ f(r_ij)."""
