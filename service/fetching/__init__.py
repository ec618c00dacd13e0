"""Images by URL: only from hosts that the operator lists, and only from public addresses."""
