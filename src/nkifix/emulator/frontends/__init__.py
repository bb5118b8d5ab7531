"""Languages that are served: each is names, signatures and language rules over the one machine."""
