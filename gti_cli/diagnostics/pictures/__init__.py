"""The pictures of a diagnosis: spectra, cosines, RSA with the codebooks, and trajectories."""
