"""The `fewbits` command line: one file per command, thin over `fewbits.api`."""
