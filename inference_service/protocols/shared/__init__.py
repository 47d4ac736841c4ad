"""What all protocols of the inference port stand on."""
