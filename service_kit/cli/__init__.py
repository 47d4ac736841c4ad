"""What both command lines share: groups of options, output, exit codes."""
