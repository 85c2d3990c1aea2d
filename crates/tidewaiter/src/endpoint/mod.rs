//! Where to connect and listen.
