"""Compilation of network-sized functions. On a CPU a function becomes a chain of small programs; equal parts share one program."""
