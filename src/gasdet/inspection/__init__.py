"""Looking at data sets themselves: damage, duplicates and leaks (``checking``), and shortcuts (``auditing``)."""
