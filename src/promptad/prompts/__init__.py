"""The prompts room: words, written states, and the contexts that learn."""
