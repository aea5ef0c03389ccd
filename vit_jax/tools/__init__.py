"""The commands, a verb each."""
