"""What a conversion is told, and the words that both its ends share. No TensorFlow."""
