"""What is sold, and for how much in which currency."""
