"""Code that all comparisons share: processes, the load program, noise from other programs, tables."""
