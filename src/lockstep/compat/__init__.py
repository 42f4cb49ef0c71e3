"""The older spellings of Buildbot's language."""
