"""An example of a plugin for gasdet."""
