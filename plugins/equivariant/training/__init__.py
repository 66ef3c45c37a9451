"""Training: batches (``batches``), the loss and its compiled step (``step``), the loop (``loop``), reports."""
