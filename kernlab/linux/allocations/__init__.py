"""Who allocated memory: stack depot, page_owner, SLUB's tracks, KFENCE, allocation tags."""
