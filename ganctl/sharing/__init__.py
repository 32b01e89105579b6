"""A generator for others: in other formats, and on the Hugging Face Hub."""
