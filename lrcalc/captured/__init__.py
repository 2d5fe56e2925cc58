"""Steps of the same shapes, again and again: pairs on the device, and one launch for all of it."""
