"""Search spaces for Ray Tune: small declarative files, one a study."""
