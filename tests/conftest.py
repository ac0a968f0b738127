"""What all tests share: hypothesis without deadlines, which on a busy machine fail tests that aren't wrong."""

from hypothesis import settings

settings.register_profile("guard", deadline=None)
settings.load_profile("guard")
