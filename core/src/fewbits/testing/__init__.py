"""The contract kit for plugin authors."""
