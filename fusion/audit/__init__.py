"""What a finished classifier may hide: planted triggers, and what it gives away of its training images."""
