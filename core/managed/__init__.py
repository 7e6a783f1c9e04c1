"""Fine-tuning as a service: a client of any provider that speaks OpenAI's fine-tuning API."""
