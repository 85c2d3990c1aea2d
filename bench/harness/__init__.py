"""What all comparisons share: processes, the load program, other programs' share, figures as text."""
