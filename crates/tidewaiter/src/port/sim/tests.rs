//! What the simulated port alone promises; the rest is in the suite that all ports share.
