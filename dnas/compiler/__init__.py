"""How network-sized functions are compiled: on a CPU as chains of small programs, of which equal ones are one."""
