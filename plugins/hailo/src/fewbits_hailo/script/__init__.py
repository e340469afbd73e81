"""Model scripts (`.alls`): grammar, commands, and what they come to here."""
