"""Raw tables -> tasks -> episodes."""
