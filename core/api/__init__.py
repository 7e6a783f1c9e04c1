"""Our own server of the OpenAI API: answers from local models and adapters, fine-tuning by the jobs of this machine."""
