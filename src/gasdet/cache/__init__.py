"""What can be made or fetched again, kept within a bound: held while in use, the longest unused removed first."""
