"""What `guard init` writes: a pure function a file, from a Wish to its text, and one place that puts files in place."""
