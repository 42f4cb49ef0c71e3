"""Who is told about results, by a cursor over the facts."""
