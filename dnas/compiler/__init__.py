"""Compilation of network-sized functions. On a CPU a function can become a chain of small programs. Equal parts share one program."""
