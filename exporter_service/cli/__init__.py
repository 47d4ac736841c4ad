"""The command line `pbexport`: options, commands, and what they print."""
