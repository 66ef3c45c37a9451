"""A quantum state of nuclei that is a Gaussian: its sampling, averages, motion and observables."""
