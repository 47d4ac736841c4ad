"""The command line `pbserve`: options, commands, and what they print."""
