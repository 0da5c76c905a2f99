"""Pictures and values of finished runs, read from their folders. Imports core only."""
