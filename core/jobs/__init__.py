"""Long work in its own process, outliving the browser tab and the app. Knows nothing of what a job does."""
