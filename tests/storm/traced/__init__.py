"""What the kernel saw: system calls of real processes, and PostgreSQL's protocol read out of them."""
