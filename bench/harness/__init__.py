"""What all comparisons share: processes held to cores, the load program, other programs' share, figures as text."""
