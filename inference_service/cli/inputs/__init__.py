"""Where the images of a command come from, and how they are sent."""
