"""What a profile says: folded stacks and the forms they are written in."""
