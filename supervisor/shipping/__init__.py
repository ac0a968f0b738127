"""Where evidence is shipped to and how: targets, ways, and what is known of it on disk."""
