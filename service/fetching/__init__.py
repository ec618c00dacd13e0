"""Images by URL: from hosts that the operator lists, and from no address that is not public."""
