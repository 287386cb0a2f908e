"""Search spaces: small declarative files, one a study. docs/sweeps.md says what may stand in one."""
