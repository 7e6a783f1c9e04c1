"""Knowledge in: reading documents, cutting them into chunks, and finding the right chunk again."""
