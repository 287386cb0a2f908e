"""What `dfmf doctor` looks at: small functions that each return a `Finding`."""
