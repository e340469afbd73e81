"""The built-in components, registered like any other plugin's."""
