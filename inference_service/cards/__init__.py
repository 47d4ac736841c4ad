"""Cards: admission, queue, batches and the thread that runs them."""
