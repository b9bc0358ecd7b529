"""The model host: a local model behind the OpenAI chat-completions API."""
